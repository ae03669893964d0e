"""The function in C that is being written: its lines, its buffers, how each value is read there.

Within it `r` is a row, `s` a step of a tile, `i` the token that is `s * rows + r`, `j` a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from pe_deploy.config import Signature
from pe_deploy.export.c import program as p
from pe_deploy.export.c.literals import array, number, padded
from pe_deploy.export.c.program import Floats, Per, Value, in_order
from pe_deploy.export.c.schedule import Schedule, scheduled


@dataclass(frozen=True)
class Buffer:
    """Floats on the stack: `stride` for each of so many times the rows, the tile and all tokens."""

    stride: int
    rows: int = 0
    tile: int = 0
    tokens: int = 0

    def bytes(self, block: int, tile: int, length: int) -> int:
        """How many it takes."""
        return (
            4 * self.stride * (self.rows * block + self.tile * tile + self.tokens * length * block)
        )

    def declared(self, name: str) -> str:
        """Its declaration."""
        counts = {"BLOCK": self.rows, "TILE": self.tile, "MAX_LENGTH * BLOCK": self.tokens}
        size = " + ".join(what for what, times in counts.items() if times)
        return f"_Alignas(64) float {name}[({size}) * {self.stride}];"


@dataclass
class Frame:
    """What is written so far.

    Attributes:
        logits: what the function answers.
        signature: what the model takes.
        kernels: the names of the kernels that are called.
        tables: the weights, as text.
        layers: the functions of single layers, as text; by name, for two loops may call one.
        lines: of the function.
        buffers: by name.
    """

    logits: Value
    signature: Signature
    kernels: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)
    numbers: int = 0
    layers: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    depth: int = 1

    def __post_init__(self) -> None:
        self.schedule: Schedule = scheduled(self.logits)
        self.names: dict[Value, str] = {}
        self.readers: dict[Value, list[Value]] = {}
        counts: Counter[str] = Counter()
        for value in in_order(self.logits):
            kind = _kind(value)
            self.names[value] = f"{kind}{counts[kind]}"
            counts[kind] += 1
            for each in value.inputs:
                self.readers.setdefault(each, []).append(value)

    def line(self, text: str) -> None:
        """Write a line."""
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Write what is inside into braces behind a head."""
        self.line(f"{head} {{".lstrip())
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def each(self, width: int, text: str) -> None:
        """A line for each number `j`."""
        self.line(f"for (size_t j = 0; j < {width}; j++) {text}")

    @contextmanager
    def each_row(self) -> Iterator[None]:
        """What is inside for each row `r`."""
        with self.block("for (size_t r = 0; r < rows; r++)"):
            yield

    @contextmanager
    def each_token(self) -> Iterator[None]:
        """What is inside for each token `i` of a tile."""
        steps, rows = "size_t s = 0, i = 0; s < steps; s++", "size_t r = 0; r < rows; r++, i++"
        with self.block(f"for ({steps})"), self.block(f"for ({rows})"):
            yield

    def buffer(self, name: str, stride: int, rows: int = 0, tile: int = 0, tokens: int = 0) -> str:
        """Have a buffer; one that is asked for again is as wide as is needed most."""
        old = self.buffers.get(name)
        wide = stride if old is None else max(stride, old.stride)
        self.buffers[name] = replace(old or Buffer(wide, rows, tile, tokens), stride=wide)
        return name

    def table(self, name: str, values: Floats) -> str:
        """Have a table of weights, once."""
        if name not in self.tables:
            self.tables[name] = array(name, values)
            self.numbers += values.size
        return name

    def stride(self, value: Value) -> int:
        """How far apart the numbers of two rows or tokens lie."""
        whole = isinstance(value, p.Dense | p.Run | p.Final)
        return padded(value.width) if whole or value.width > 1 else 1

    def is_kept(self, value: Value) -> bool:
        """Whether the numbers of all tokens are kept for later loops."""
        return value in self.schedule.kept

    def element(self, value: Value, at: str = "j") -> str:
        """One number of a value."""
        if isinstance(value, p.Length):
            return "(float)length"
        at = at if value.width > 1 else "0"
        name, stride = self.names[value], self.stride(value)
        if isinstance(value, p.Constant):
            if value.width == 1:
                return number(float(value.numbers[0]))
            return f"{self.table(name, value.numbers)}[{at}]"
        if value.per is Per.CALL:
            return f"{name}[{at}]"
        if isinstance(value, p.Places) and value.per is Per.PLACE:
            rows = np.zeros((len(value.table), stride))
            rows[:, : value.width] = value.table
            return f"{self.table(name, rows)}[(first + s) * {stride} + {at}]"
        return f"{name}[{self.row(value)} * {stride} + {at}]"

    def row(self, value: Value) -> str:
        """Which of a value's rows of numbers is meant."""
        return "i" if value.per is Per.TOKEN else "r"

    def step(self, ends: Value | None) -> str:
        """The place whose token is read: that of the step, or what it is in a row turned round."""
        if ends is None:
            return "(first + s)"
        self.kernels.add("turned")
        return f"turned(first + s, {self.element(ends)}, length)"


def _kind(value: Value) -> str:
    """What the name of a value begins with."""
    if isinstance(value, p.Run):
        return type(value.layer).__name__.removesuffix("Layer").lower()
    if isinstance(value, p.Map | p.Reduce):
        return f"{value.function}_"
    return type(value).__name__.lower()
