"""Where a capture made a Python number of a size that has to stay free, or asked for one.

A capture follows the one side of `if ids.size(1) > 20` that its sample takes, and says nothing: the
graph is wrong for every length on the other side.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest import mock

import sympy
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from pe_deploy.config import Signature
from pe_deploy.export.adapt.blame import line_in

_BATCHES = (2, 3, 4, 5, 6, 7, 8, 13, 16, 17, 31, 32, 64, 100, 128, 257, 1000, 1024)
_MOST_LENGTHS = 512
_SYMBOLIC = (
    "torch/__init__.py",
    "torch/fx/experimental/sym_node.py",
    "torch/fx/experimental/symbolic_shapes.py",
    "torch/fx/experimental/recording.py",
)
"""What stands between the question and whoever asks it."""


class Condition(NamedTuple):
    """What a capture took for granted of one free size.

    Attributes:
        holds: of the size, as sympy knows it.
        hint: the size that the sample has.
        line: of the user's code, that asked.
    """

    holds: Any
    hint: int
    line: str

    def is_broken_at(self, size: int) -> bool:
        """Whether it does not hold at another size."""
        (symbol,) = self.holds.free_symbols
        return bool(self.holds.subs(symbol, size) == sympy.false)


@dataclass
class SizesAsked:
    """What was asked of free sizes while a module was captured.

    Attributes:
        numbers: the lines of the user's code that made a Python number of one.
        conditions: what was asked of one.
    """

    numbers: list[str] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)

    def broken(self, signature: Signature, length: int) -> str:
        """A line that asks for a size, and would hear otherwise at an allowed one; empty if none.

        `length` is that of the sample. Sizes of 1 are left out: torch asks for these itself,
        everywhere, and parity tries them.
        """
        longest = signature.max_length
        step = max(1, (longest - signature.min_length) // _MOST_LENGTHS)
        lengths = [*range(max(2, signature.min_length), longest, step), longest]
        for condition in self.conditions:
            sizes = lengths if condition.hint == length else _BATCHES
            if any(size > 1 and condition.is_broken_at(size) for size in sizes):
                return condition.line
        return ""


def _asked_directly(stack: Sequence[traceback.FrameSummary]) -> str:
    """The user's line, where it asks itself; torch's own functions ask of 0 and 1 everywhere."""
    inner = list(stack)
    while inner and inner[-1].filename.endswith((*_SYMBOLIC, __file__)):
        if inner.pop().name in ("guard_int", "int_"):  # fixed: torch says so, or tries another way
            return ""
    return line_in(inner[-1:])


@contextmanager
def sizes_asked() -> Iterator[SizesAsked]:
    """Watch what is asked of free sizes."""
    asked = SizesAsked()
    outside = len(traceback.extract_stack())
    own = {name: getattr(SymNode, name) for name in ("guard_int", "int_")}
    log_guard = ShapeEnv._log_guard

    def watched(name: str) -> Any:
        def method(node: SymNode, *given: Any) -> Any:
            if node.maybe_as_int() is None:
                line = line_in(traceback.extract_stack()[outside:])
                asked.numbers.extend([line] if line else [])
            return own[name](node, *given)

        return method

    def logged(env: ShapeEnv, prefix: str, guard: Any, **given: Any) -> Any:
        line = _asked_directly(traceback.extract_stack()[outside:])
        symbols = getattr(guard, "free_symbols", ())
        if line and len(symbols) == 1:  # how two sizes compare, nobody asks
            hints = getattr(env, "backed_var_to_val", None) or env.var_to_val
            if (hint := hints.get(*symbols)) is not None:
                asked.conditions.append(Condition(guard, int(hint), line))
        return log_guard(env, prefix, guard, **given)

    with (
        mock.patch.multiple(SymNode, **{name: watched(name) for name in own}),
        mock.patch.object(ShapeEnv, "_log_guard", logged),
    ):
        yield asked
