"""Whether a module computes in less than float32, which nothing can be proved of."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pe_deploy.export.adapt.blame import line_in


def narrowed(run: Callable[[], object]) -> str:
    """The narrow dtype that a call computes in, and the line of the user's code; empty if none."""
    with torch.no_grad(), _Narrow() as seen:
        run()
    return str(seen.found)


class _Narrow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        narrow = isinstance(given, Tensor) and given.dtype in (torch.float16, torch.bfloat16)
        if narrow and not self.found:
            line = line_in(traceback.extract_stack())
            self.found = str(given.dtype).removeprefix("torch.") + (f" (at {line})" if line else "")
        return given
