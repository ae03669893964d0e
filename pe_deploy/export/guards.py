"""Guards inside the ONNX graph: a bad input is an ordinary error in every onnxruntime binding.

onnxruntime's GRU kernel aborts the process on an empty batch or sequence; its Gather reads a
negative id as one counted from the end; a positional table of one row is broadcast over any length.
No binding but ours checks the input first, so the graph does, by nodes that fail and whose names
say what is wrong.

Every other node, but for Shape, reads `checked_ids`, which is `input_ids` where nothing is wrong.
Its value depends on each check, and each check on `input_ids`, so no optimiser can leave one out:

    guard_sequence_at_most_L     Gather by the length from a table that ends at L
    guard_batch_not_empty        Gather of row 0
    guard_sequence_not_empty     Gather of that row's first id
    guard_id_from_0_to_…         the Gather of the embedding, which an id of V or more fails
    guard_padding_on_the_right   Gather by what is 0 where padding comes last
    guard_…_at_least_N           Gather by what is 0 where there are N ids, if N is not 1

The first three give V or more between them, which takes the place of each negative id, so that the
fourth fails. Gather alone is trusted to fail: up to onnxruntime 1.23, GatherND aborts the process
on an empty input, as GRU does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pe_deploy.config import INPUT_IDS, Signature

CHECKED_IDS = "checked_ids"
PREFIX = "guard_"

_LONGEST_TABLE = 4096
"""Entries; the lengths of a longer `max_length` are divided first, which takes a node more."""

_NEVER_FAIL = (
    "Add", "Cast", "Concat", "ConstantOfShape", "Equal", "Gather", "GatherND", "Identity", "Less",
    "Max", "Min", "Mul", "Neg", "Not", "Range", "Shape", "Slice", "Squeeze", "Sub", "Unsqueeze",
    "Where",
)  # fmt: skip
"""Operators that take whatever sizes there are; a Gather by them is another matter."""

_MOVES_IDS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity")


class Guards(NamedTuple):
    """The guards of one signature: nodes in order, and the constants that they read."""

    nodes: list[NodeProto]
    constants: dict[str, NDArray[Any]]


def guard_names(signature: Signature) -> dict[str, str]:
    """The node that fails, by what is wrong with the input."""
    names = {
        "no rows": f"{PREFIX}batch_not_empty",
        "no ids": f"{PREFIX}sequence_not_empty",
        "too long": f"{PREFIX}sequence_at_most_{signature.max_length}",
        "id": f"{PREFIX}id_from_0_to_{signature.vocab_size - 1}",
    }
    if signature.pad_id is not None:
        names["padding"] = f"{PREFIX}padding_on_the_right"
    if signature.min_length > 1:
        what = "sequence" if signature.pad_id is None else "row"
        names["too short"] = f"{PREFIX}{what}_at_least_{signature.min_length}"
    return names


def guard(model: onnx.ModelProto, signature: Signature) -> None:
    """Put the guards between `input_ids` and every node that reads it, in place."""
    graph = model.graph
    embeddings = id_lookups(model, signature, INPUT_IDS)
    made = guards(signature, looks_up=not embeddings)
    for number, node in enumerate(embeddings, 1):
        # A graph may look each id up in several tables, such as one for each gate.
        node.name = guard_names(signature)["id"] + (f"_{number}" if number > 1 else "")
    # A size is the same before the checks; so onnxruntime finds it once, for guards and model.
    past = () if sizes_can_fail(graph) else ("Shape",)
    for node in graph.node:
        if node.op_type not in past:
            node.input[:] = [CHECKED_IDS if name == INPUT_IDS else name for name in node.input]
    for name, value in made.constants.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    nodes = [*made.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def unguarded(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """A copy without the guards, which aborts or answers wrongly where they would refuse."""
    copied = copy.deepcopy(model)
    graph = copied.graph
    made = [guards(signature, looks_up=looks_up) for looks_up in (False, True)]
    own = {node.output[0] for one in made for node in one.nodes}
    nodes = [node for node in graph.node if node.output[0] not in own]
    for node in nodes:
        node.input[:] = [INPUT_IDS if name == CHECKED_IDS else name for name in node.input]
    constants = [t for t in graph.initializer if t.name not in made[1].constants]
    for field, kept in ((graph.node, nodes), (graph.initializer, constants)):
        del field[:]
        field.extend(kept)
    return copied


def sizes_can_fail(graph: onnx.GraphProto) -> bool:
    """Whether what is computed of nothing but the sizes of the ids may fail, before any guard does.

    A table of positions is looked up by 0, 1, 2, … up to the length; or something is divided by it.
    """
    sizes: set[str] = set()
    known = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] == INPUT_IDS:
            sizes.update(node.output)
        elif node.op_type == "Constant":
            known.update(node.output)
        elif sizes & {*node.input} and sizes | known >= {*node.input}:
            looks_up = node.op_type == "Gather" and node.input[1] in sizes
            if looks_up or node.op_type not in _NEVER_FAIL:
                return True
            sizes.update(node.output)
    return False


def id_lookups(model: onnx.ModelProto, signature: Signature, ids: str) -> list[NodeProto]:
    """The Gathers that look each id up in a table of exactly `vocab_size` rows."""
    rows = {tensor.name: list(tensor.dims[:1]) for tensor in model.graph.initializer}
    same = {ids}
    found = []
    for node in model.graph.node:
        if node.op_type in _MOVES_IDS and node.input[0] in same:
            same.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in same:
            axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            if rows.get(node.input[0]) == [signature.vocab_size] and axes in ([], [0]):
                found.append(node)
    return found


def guards(signature: Signature, *, looks_up: bool) -> Guards:
    """From `input_ids` to `checked_ids`.

    Args:
        signature: what the model takes.
        looks_up: whether the guards have to find ids of `vocab_size` or more themselves, since
            no Gather of the model does.
    """
    names = guard_names(signature)
    constants: dict[str, NDArray[Any]] = {"guard_zero": np.array(0)}
    nodes = [_node("Shape", [INPUT_IDS], "guard_length", start=1, end=2)]
    # What matters of this table is how many entries it has: one for each length, 0 among them.
    entries = signature.max_length + 1
    if entries > _LONGEST_TABLE:
        constants["guard_too_long"] = np.array([entries])
        nodes.append(_node("Div", ["guard_length", "guard_too_long"], "guard_excess"))
        entries = 1
    constants["guard_lengths"] = np.full(entries, signature.vocab_size)
    nodes += [
        _node("Gather", ["guard_lengths", nodes[-1].output[0]], "guard_fits", names["too long"]),
        _node("Gather", [INPUT_IDS, "guard_zero"], "guard_row", names["no rows"]),
        _node("Gather", ["guard_row", "guard_zero"], "guard_first", names["no ids"]),
    ]
    fits = ["guard_first", "guard_fits"]
    if signature.min_length > 1 and signature.pad_id is None:
        constants |= {
            "guard_least": np.array([signature.min_length]),
            "guard_long_enough": np.array([signature.vocab_size]),
        }
        nodes += _below("guard_length", "guard_least")
        nodes.append(
            _node("Gather", ["guard_long_enough", "guard_below"], "guard_long", names["too short"])
        )
        fits.append("guard_long")
    nodes += [
        _node("Max", fits, "guard_never_an_id"),
        _node("Less", [INPUT_IDS, "guard_zero"], "guard_negative"),
        _node("Where", ["guard_negative", "guard_never_an_id", INPUT_IDS], "guard_ids"),
    ]
    if signature.pad_id is not None:
        padding = _padding(signature, names)
        nodes += padding.nodes
        constants |= padding.constants
    if looks_up:
        constants["guard_vocabulary"] = np.arange(signature.vocab_size)
        ids = nodes[-1].output[0]
        nodes.append(_node("Gather", ["guard_vocabulary", ids], "guard_known", names["id"]))
    nodes[-1].output[0] = CHECKED_IDS
    return Guards(nodes, constants)


def _below(value: str, least: str) -> list[NodeProto]:
    """1 where a value is less than the least allowed, else 0: `guard_below`."""
    return [
        _node("Less", [value, least], "guard_is_below"),
        _node("Cast", ["guard_is_below"], "guard_below", to=TensorProto.INT64),
    ]


def _padding(signature: Signature, names: Mapping[str, str]) -> Guards:
    """From `guard_ids` to the same, which nothing changes: it is there to be depended on.

    The number of tokens is one more than the column of the last one just where tokens come first.
    Of a row without any, ArgMax gives the last column, so that row fails as well.
    """
    constants = {
        "guard_pad_id": np.array(signature.pad_id),
        "guard_one": np.array(1),
        "guard_columns": np.array([1]),
        "guard_no": np.array(0, np.int32),  # ArgMax takes int64 only since onnxruntime 1.20
        "guard_yes": np.array(1, np.int32),
        "guard_largest": np.array([np.iinfo(np.int64).max]),
    }
    nodes = [
        _node("Equal", ["guard_ids", "guard_pad_id"], "guard_is_pad"),
        _node("Where", ["guard_is_pad", "guard_no", "guard_yes"], "guard_is_token"),
        _node("ReduceSum", ["guard_is_token", "guard_columns"], "guard_count"),
        _node("Cast", ["guard_count"], "guard_tokens", to=TensorProto.INT64),
        _node("ArgMax", ["guard_is_token"], "guard_last", axis=1, select_last_index=1),
        _node("Sub", ["guard_last", "guard_tokens"], "guard_holes"),
        _node("Add", ["guard_holes", "guard_one"], "guard_misplaced"),
        _node("Gather", ["guard_largest", "guard_misplaced"], "guard_padded", names["padding"]),
    ]
    if signature.min_length == 1:
        nodes.append(_node("Min", ["guard_ids", "guard_padded"], "guard_ids_in_place"))
        return Guards(nodes, constants)
    constants["guard_least"] = np.array([signature.min_length])
    nodes += [
        *_below("guard_tokens", "guard_least"),
        # After the padding's own guard, which has more to say of such a row.
        _node("Min", ["guard_below", "guard_padded"], "guard_below_in_place"),
        _node(
            "Gather", ["guard_largest", "guard_below_in_place"], "guard_long", names["too short"]
        ),
        _node("Min", ["guard_ids", "guard_long"], "guard_ids_in_place"),
    ]
    return Guards(nodes, constants)


def _node(
    operator: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any
) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name or output, **attributes)
