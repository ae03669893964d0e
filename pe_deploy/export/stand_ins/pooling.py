"""Pooling over one axis, and lengths as lists, in words that keep the sizes of a capture free.

torch computes the size of a one-dimensional pool in C++, which makes numbers of a free length; and
a kernel as long as the sequence is one.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pe_deploy.export.adapt.blame import is_assert
from pe_deploy.export.stand_ins import cells


class SizesKeptFree(TorchFunctionMode):
    """Exchanges the functions that would fix a size for such as do not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        ours = _OURS.get(func)
        if ours is not None and not kwargs.pop("return_indices", False):
            return ours(*args, **kwargs)
        if (found := _in_a_loop(func, args, kwargs)) is not None:
            return found
        if func in (Tensor.tolist, Tensor.numpy) and are_lengths(args[0]):
            return args[0]  # pack_padded_sequence takes the tensor as well
        if func in _REMAINDERS and isinstance(args[1], torch.SymInt):
            size: Any = args[1]
            return func(args[0], torch.scalar_tensor(size, dtype=args[0].dtype))
        if func is Tensor.__bool__ and is_assert(traceback.extract_stack(limit=12)):
            return True  # the guards of the graph look at the ids
        return cells.LOOPS.made(func(*args, **kwargs))


def _in_a_loop(func: Any, args: Any, kwargs: Any) -> Any:
    """What a function gives in a loop of cells; None where it has no part in one."""
    if func is Tensor.__getitem__:
        return cells.item(*args)
    if func is torch.stack:
        return cells.stacked(*args, **kwargs)
    if func in (torch.unbind, Tensor.unbind):
        return cells.unbound(*args, **kwargs)
    return None


def _max_pool1d(
    input: Tensor,  # noqa: A002 - torch's own name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    size = _one(kernel_size)
    if _is_whole(size, input):
        return input.amax(-1, keepdim=True)
    step = size if stride is None or stride == () or stride == [] else _one(stride)
    flat = functional.max_pool2d(
        input.unsqueeze(-2),
        (1, size),
        (1, step),
        (0, _one(padding)),
        (1, _one(dilation)),
        ceil_mode,
    )
    return flat.squeeze(-2)


def _avg_pool1d(
    input: Tensor,  # noqa: A002 - torch's own name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    size = _one(kernel_size)
    if _is_whole(size, input):
        return input.mean(-1, keepdim=True)
    step = size if stride is None or stride == () or stride == [] else _one(stride)
    flat = functional.avg_pool2d(
        input.unsqueeze(-2), (1, size), (1, step), (0, _one(padding)), ceil_mode, count_include_pad
    )
    return flat.squeeze(-2)


def _adaptive(reduce: str) -> Any:
    own = getattr(torch, f"adaptive_{'max' if reduce == 'amax' else 'avg'}_pool1d")

    def pooled(input: Tensor, output_size: Any, *rest: Any) -> Any:  # noqa: A002 - torch's own name
        if _one(output_size) != 1:
            return own(input, output_size, *rest)
        found = getattr(input, "amax" if reduce == "amax" else "mean")(-1, keepdim=True)
        return (found, None) if reduce == "amax" else found

    return pooled


def _one(size: Any) -> Any:
    return size[0] if isinstance(size, list | tuple) else size


def _is_whole(size: Any, input: Tensor) -> bool:  # noqa: A002 - torch's own name
    if isinstance(size, Tensor):  # as a trace has sizes
        return int(size) == int(input.shape[-1])
    return isinstance(size, torch.SymInt) and str(size) == str(input.shape[-1])


def are_lengths(tensor: Any) -> bool:
    """Whether a value may be the lengths of rows, `[batch]`."""
    return isinstance(tensor, Tensor) and tensor.dim() == 1 and tensor.dtype == torch.int64


_REMAINDERS = (torch.remainder, Tensor.remainder, Tensor.__mod__, Tensor.fmod, torch.fmod)

_OURS = {
    torch.max_pool1d: _max_pool1d,
    functional.max_pool1d: _max_pool1d,
    torch.avg_pool1d: _avg_pool1d,
    torch.adaptive_max_pool1d: _adaptive("amax"),
    functional.adaptive_max_pool1d: lambda *given: _adaptive("amax")(*given)[0],
    torch.adaptive_avg_pool1d: _adaptive("mean"),
}
