"""A module as a trace that follows other shapes, or fails at them: it never answers wrongly.

`torch.jit.trace` writes down what one call does. Where a size became a Python number on the way,
the trace holds that of the sample; and where that is the batch of a recurrent layer's first state,
torch's kernel reads and writes beyond it, up to the end of the process.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pe_deploy.config import Signature
from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.blame import blamed
from pe_deploy.export.stand_ins.plain_python import len_kept_free
from pe_deploy.export.stand_ins.pooling import SizesKeptFree
from pe_deploy.parity import random_ids

_SAMPLE_ROWS = 5


def traced(module: nn.Module, signature: Signature) -> nn.Module:
    """A trace of a module in eval mode, tried on more rows and fewer, longer ones and shorter.

    Raises:
        ExportError: it cannot be traced, or the trace does not follow another shape.
    """
    rng = np.random.default_rng(0)
    shortest, longest = signature.min_length, signature.max_length

    def ids(batch: int, length: int) -> Tensor:
        return torch.from_numpy(random_ids(signature, batch, length, rng))

    with torch.no_grad(), warnings.catch_warnings(), _traceable(), len_kept_free(module):
        warnings.simplefilter("ignore")  # of what the trials below find
        try:
            sample = ids(_SAMPLE_ROWS, (shortest + longest + 1) // 2)
            trace: nn.Module = torch.jit.trace(module, (sample,), check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ExportError(f"a trace fails: {blamed(error)}") from error
    with torch.no_grad():
        for batch, length in ((9, longest), (1, shortest), (2, longest), (7, shortest)):
            given = ids(batch, length)
            place = f"batch {batch} × length {length}"
            try:
                answer = trace(given)
            except Exception as error:
                raise ExportError(f"a trace of it fails at {place}") from error
            expected = module(given)
            if answer.shape != expected.shape or not torch.allclose(answer, expected, 1e-3, 1e-4):
                raise ExportError(f"a trace of it answers otherwise at {place}")
    return trace


@contextmanager
def _traceable() -> Iterator[None]:
    """Keep sizes that are on their way to be numbers; check those that torch's kernels rely on."""
    with ExitStack() as stack:
        for kind in (nn.GRU, nn.LSTM, nn.RNN):
            stack.enter_context(mock.patch.object(kind, "forward", _checked(kind)))
        stack.enter_context(_SizesKept())
        stack.enter_context(SizesKeptFree())
        yield


def _checked(kind: type[nn.RNNBase]) -> Any:
    """The layer's `forward`, whose first states have to be of as many rows as the batch."""
    own = kind.forward

    def forward(layer: Any, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's own name
        if hx is not None and isinstance(input, Tensor) and input.dim() == 3:
            batch = input.size(0 if layer.batch_first else 1)
            states = hx if isinstance(hx, tuple) else (hx,)
            states = tuple(s.reshape(s.size(0), batch, s.size(2)) for s in states)
            hx = states if isinstance(hx, tuple) else states[0]
        return own(layer, input, hx)

    return forward


class _SizesKept(TorchFunctionMode):
    """`weight.new(layers, batch, hidden)` makes a Python number of a size; `zeros` does not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.new and len(args) > 1 and not kwargs:
            sizes = args[1] if isinstance(args[1], list | tuple) else args[1:]
            if all(isinstance(size, int | Tensor) for size in sizes):
                return torch.zeros(tuple(sizes), dtype=args[0].dtype, device=args[0].device)
        return func(*args, **(kwargs or {}))
