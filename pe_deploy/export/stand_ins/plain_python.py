"""Python's own functions that make a number of a size, in a form that does not.

`len(ids)` has to give an int, so it fixes the batch of a capture or of a trace. In the code of the
user's module, and there alone, `len` gives `ids.shape[0]` meanwhile.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pe_deploy.export.adapt.blame import is_users
from pe_deploy.export.stand_ins import cells


@contextmanager
def len_kept_free(module: nn.Module, loops: bool = False) -> Iterator[None]:
    """Let `len` of a tensor be a free size in the files that a module's code is in.

    With `loops`, `range` over a free length stands for a loop of cells.
    """
    ours = {"len": _len, **({"range": cells.range_of} if loops else {})}
    changed = [(names, name) for names in _namespaces(module) for name in ours if name not in names]
    for names, name in changed:
        names[name] = ours[name]
    try:
        yield
    finally:
        for names, name in changed:
            del names[name]


def _len(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else builtins.len(value)


def _namespaces(module: nn.Module) -> list[dict[str, Any]]:
    """The globals of each file of the user's that is imported, and of the module's classes."""
    found = [vars(code) for code in list(sys.modules.values()) if _is_users_file(code)]
    for part in module.modules():
        names = getattr(type(part).forward, "__globals__", {})
        if is_users(str(names.get("__file__", "<ipython>"))):
            found.append(names)
    return list({id(names): names for names in found}.values())


def _is_users_file(code: Any) -> bool:
    file = getattr(code, "__file__", None)
    return isinstance(file, str) and is_users(file)
