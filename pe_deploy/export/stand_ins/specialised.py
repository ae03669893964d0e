"""Where a capture made a Python number of a size that has to stay free."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch.fx.experimental.sym_node import SymNode

from pe_deploy.export.adapt.blame import line_in


@contextmanager
def numbers_made() -> Iterator[list[str]]:
    """The lines of the user's code that made a number of a size, as `blame` shows them."""
    lines: list[str] = []
    outside = len(traceback.extract_stack())
    own = {name: getattr(SymNode, name) for name in ("guard_int", "int_")}

    def watched(name: str) -> Any:
        def method(node: SymNode, *given: Any) -> Any:
            if node.maybe_as_int() is None:
                line = line_in(traceback.extract_stack()[outside:])
                lines.extend([line] if line else [])
            return own[name](node, *given)

        return method

    with mock.patch.multiple(SymNode, **{name: watched(name) for name in own}):
        yield lines
