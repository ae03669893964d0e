"""Other white space of ASCII becomes spaces, by standard operators, before words are split.

StringSplit splits at the space alone, and no operator replaces characters. But it splits at any one
delimiter too, and StringConcat joins: so a text is split at tabs, say, and neighbours are joined by
a space in a loop that halves their number. What is added at the ends are spaces, which say nothing.
Texts that have spaces alone, as most do, pass by all that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pe_deploy.config import BATCH

LEAST = 1023
"""How many of each kind a text may have at least."""

_KINDS = {"line_feed": "\n", "tab": "\t", "return": "\r", "tabulation": "\v", "form_feed": "\f"}
_SPACES_ALONE = "[^\\t-\\r]*"
_LAST = np.iinfo(np.int64).max


class Spaced(NamedTuple):
    """Nodes in order, and the constants that they and their inner graphs read."""

    nodes: list[NodeProto]
    constants: list[TensorProto]


def most_of_each(max_length: int) -> int:
    """How many of each kind a text may have: as many as words, but for few words.

    There is a limit since each text takes memory for all that another of its batch has.
    """
    return max(LEAST, max_length)


def spaced(texts: str, output: str, most: int) -> Spaced:
    """The nodes from texts to the same with spaces as their white space, both string `[batch]`.

    Beyond so many of a kind, the rest of a text stays as it is.
    """
    nodes = [
        _node("RegexFullMatch", [texts], "space_alone", pattern=_SPACES_ALONE),
        _node("Not", ["space_alone"], "space_not_alone"),
        _node("Cast", ["space_not_alone"], "space_others", to=TensorProto.INT64),
        _node("ReduceSum", ["space_others"], "space_count", keepdims=0),
        _node("Cast", ["space_count"], "space_any", to=TensorProto.BOOL),
        _node(
            "If",
            ["space_any"],
            output,
            then_branch=_replaced(texts, most),
            else_branch=_same(texts),
        ),
    ]
    constants = {
        "space_begin": np.array([0]),
        "space_second": np.array([1]),
        "space_end": np.array([_LAST]),
        "space_one": np.array(1),
        "space_axis": np.array([1]),
        "space_step": np.array([2]),
        "space_yes": np.array(True),
        "space_nothing": np.array([[""]], np.object_),
        "space": np.array(" ", np.object_),
    }
    return Spaced(
        nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()]
    )


def _same(texts: str) -> GraphProto:
    same = _node("Identity", [texts], "space_same")
    return helper.make_graph([same], "same", [], [_strings("space_same", BATCH)])


def _replaced(texts: str, most: int) -> GraphProto:
    nodes: list[NodeProto] = []
    for name, character in _KINDS.items():
        pieces, joined, out = (f"space_{name}_{what}" for what in ("pieces", "joined", "out"))
        nodes += [
            helper.make_node(
                "StringSplit",
                [texts],
                [pieces, f"space_{name}_count"],
                pieces,
                delimiter=character,
                maxsplit=most,
            ),
            _node("Loop", ["", "space_yes", pieces], joined, body=_halved(f"space_{name}")),
            _node("Squeeze", [joined, "space_axis"], out),
        ]
        texts = out
    return helper.make_graph(nodes, "replaced", [], [_strings(texts, BATCH)])


def _halved(name: str) -> GraphProto:
    """Joins pieces 0 and 1, 2 and 3, … of each text, string `[batch, pieces]`, until one is left.

    Of an odd number of them, the last is joined with nothing.
    """

    def of(what: str) -> str:
        return f"{name}_{what}"

    even = ["space_begin", "space_end", "space_axis", "space_step"]
    odd = ["space_second", *even[1:]]
    first = ["space_begin", "space_second", "space_axis"]
    nodes = [
        _node("Slice", [of("before"), *even], of("left")),
        _node("Slice", [of("before"), *first], of("column")),
        _node("Shape", [of("column")], of("shape")),
        _node("Expand", ["space_nothing", of("shape")], of("nothing")),
        _node("Concat", [of("before"), of("nothing")], of("padded"), axis=1),
        _node("Slice", [of("padded"), *odd], of("right")),
        _node("StringConcat", [of("left"), "space"], of("left_spaced")),
        _node("StringConcat", [of("left_spaced"), of("right")], of("after")),
        _node("Shape", [of("after")], of("sizes"), start=1, end=2),
        _node("Squeeze", [of("sizes")], of("size")),
        _node("Greater", [of("size"), "space_one"], of("goes_on")),
    ]
    inputs = [
        helper.make_tensor_value_info(of("number"), TensorProto.INT64, []),
        helper.make_tensor_value_info(of("go"), TensorProto.BOOL, []),
        _strings(of("before"), BATCH, None),
    ]
    outputs = [
        helper.make_tensor_value_info(of("goes_on"), TensorProto.BOOL, []),
        _strings(of("after"), BATCH, None),
    ]
    return helper.make_graph(nodes, "halved", inputs, outputs)


def _strings(name: str, *shape: str | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.STRING, shape)


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], output, **attributes)
