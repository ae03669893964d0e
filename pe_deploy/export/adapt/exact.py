"""Run a module in float64, whatever it makes as float32 on the way.

A module whose weights are float64 still makes float32 itself: `torch.zeros(…)` for a first state,
`mask.float()`, `one_hot(…).float()`. Mixed, the two are an error, or rounding in what is to be
exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


@contextmanager
def slow_attention() -> Iterator[None]:
    """Let transformer layers compute what their source says.

    Torch's fast path of eval mode answers otherwise where padding is: it leaves zeros there.
    """
    with _slow:
        yield


class _Slow:
    """Torch's switch is of the process: the first thread that comes turns it off, the last on."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.mha.set_fastpath_enabled(self._before)


_slow = _Slow()


_NARROW = (torch.float32, torch.float16, torch.bfloat16)


class InFloat64(TorchFunctionMode):
    """Every function of torch takes and gives float64 where it would take or give less."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _TO_FLOAT32:
            return args[0].double()
        if func is Tensor.type and len(args) > 1 and "Float" in str(args[1]):
            return args[0].double()
        args, kwargs = (_widened(each) for each in (args, kwargs or {}))
        if func is torch.full and isinstance(args[-1], float):  # the least of float64 is no float32
            kwargs.setdefault("dtype", torch.float64)
        return _widened(func(*args, **kwargs))


_TO_FLOAT32 = (Tensor.float, Tensor.half, Tensor.bfloat16)


def _widened(value: Any) -> Any:
    return tree_map_only((Tensor, torch.dtype), _wide, value)


def _wide(value: Tensor | torch.dtype) -> Tensor | torch.dtype:
    if isinstance(value, torch.dtype):
        return torch.float64 if value in _NARROW else value
    return value.double() if value.dtype in _NARROW else value
