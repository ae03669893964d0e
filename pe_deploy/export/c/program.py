"""What a model computes, as the form in C has it: values, each made of others.

A graph of ONNX has axes, and nodes that move them about. Here a value has numbers (`width` of
them) per token, per place in a row, per row, or once for a call, and nothing is left of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.export.passes.layer import Layer

Floats = NDArray[np.float64]


class Per(IntEnum):
    """What a value has one of for each; of two that are combined, the later one counts."""

    CALL = 0
    PLACE = 1
    ROW = 2
    TOKEN = 3

    def joined(self, other: Per) -> Per:
        """What a combination of two values is per: of places and rows, tokens."""
        return Per.TOKEN if {self, other} == {Per.PLACE, Per.ROW} else max(self, other)


@dataclass(frozen=True, eq=False)
class Value:
    """`width` numbers per token, place, row or call.

    Attributes:
        per: what it has one of for each.
        width: how many numbers.
        inputs: the values that it is made of.
    """

    per: Per
    width: int
    inputs: tuple[Value, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether a token's numbers follow from the ids and places alone, at any step."""
        return all(value.is_known for value in self.inputs if value.per is Per.TOKEN)


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Value):
    """Numbers of the model: `[width]`."""

    numbers: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Length(Value):
    """How many ids a row of the call has."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ids(Value):
    """The id of each token; with an input, of the row read backwards from its end.

    The input is the number of tokens in each row, `n`: step `t` reads the id at `n - 1 - t`, and
    behind the end that at `t`, as ReverseSequence does.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Places(Value):
    """A row of a table for each place: `[max_length, width]`; with an input, as in `Ids`."""

    table: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Value):
    """A row of a table for each id: `[vocabulary, width]`. Its input is `Ids`."""

    table: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Map(Value):
    """A function of each number; an input of width 1 goes with every number of the others."""

    function: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Value):
    """`x · weights + bias`: weights `[inputs, width]`, bias `[width]`."""

    weights: Floats
    bias: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm(Value):
    """Layer normalisation over all numbers."""

    scale: Floats
    bias: Floats
    epsilon: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Join(Value):
    """The numbers of the inputs, one after the other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Part(Value):
    """`width` numbers of the input, from `start` on."""

    start: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(Value):
    """A recurrent layer in one direction: its output at each token.

    Its inputs are what it reads, and the states that it starts from where they are not zeros.
    """

    layer: Layer

    @property
    def is_known(self) -> bool:
        """A step needs the one before."""
        return False


@dataclass(frozen=True, eq=False, kw_only=True)
class Final(Value):
    """A state of a `Run` after its last step, `state` being which."""

    state: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduce(Value):
    """The sum, mean, max or min over the tokens of a row, padding included."""

    function: str


@dataclass(frozen=True, eq=False, kw_only=True)
class At(Value):
    """The numbers of one token of a row: its second input is its place.

    A place outside the row counts from the end where it is negative, as GatherND has it.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Turned(Value):
    """What a token has, of the row read backwards from its end, as in `Ids`; of a `Run`."""


def made(kind: type[Value], *inputs: Value, width: int | None = None, **fields: Any) -> Value:
    """A value of a kind that is per whatever its inputs are per, and as wide.

    Of places alone there are tables; what is computed of them is computed with each token.
    """
    per = Per.CALL
    for value in inputs:
        per = per.joined(value.per)
    per = Per.TOKEN if per is Per.PLACE else per
    widest = max((value.width for value in inputs), default=1)
    return kind(per, widest if width is None else width, inputs, **fields)


def in_order(last: Value) -> list[Value]:
    """A value and all that it is made of, each behind its inputs, each once."""
    found: dict[int, Value] = {}
    waiting = [(last, False)]
    while waiting:
        value, ready = waiting.pop()
        if id(value) in found:
            continue
        if ready:
            found[id(value)] = value
        else:
            waiting.append((value, True))
            waiting.extend((each, False) for each in reversed(value.inputs))
    return list(found.values())
