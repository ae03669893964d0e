"""Rules that a finished ONNX graph has to keep, each with what a breach means and its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from pe_deploy.config import INPUT_IDS, LOGITS, Signature
from pe_deploy.errors import line_of
from pe_deploy.export.guards import CHECKED_IDS, guard_names, guards, id_lookups
from pe_deploy.export.passes.graph import RECURRENT, graphs_in


@dataclass(frozen=True)
class Expectation:
    """What the graph should be.

    Attributes:
        signature: what the model takes and gives.
        recurrent_nodes: the GRU, LSTM and RNN nodes that it has once it is simplified.
        opset: the operator set that was asked for.
        sample_shape: `(batch, sequence)` of the sample that the graph was captured with; of 1
            and 1, which put no constant under suspicion, where there was none.
        scanned: how many layers of each operator Scan nodes compute, each direction for itself.
    """

    signature: Signature
    recurrent_nodes: int
    opset: int
    sample_shape: tuple[int, int] = (1, 1)
    scanned: Mapping[str, int] = field(default_factory=dict)


_ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")
_IN_A_STEP = {"GRU": 3, "LSTM": 5, "RNN": 1}
"""How many activations a layer has in a step."""

Rule = Callable[[onnx.ModelProto, Expectation], Iterator[str]]


def lint(model: onnx.ModelProto, expected: Expectation) -> list[str]:
    """Check every rule; one line for each breach, empty for a good graph."""
    return [
        f"{rule.__name__.removeprefix('_')}: {breach}"
        for rule in RULES
        for breach in rule(model, expected)
    ]


def _one_file(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield (
                f"{tensor.name} is stored outside the file, so the model can be parted from its "
                "weights; export with external_data=False"
            )


def _checker(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield (
            f"onnx.checker refuses the graph ({line_of(error)}), so other runtimes may too; "
            "export with another opset"
        )


def _standard_domain(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    domains = {opset.domain for opset in model.opset_import}
    domains |= {node.domain for graph in graphs_in(model.graph) for node in graph.node}
    if custom := sorted(domains - {"", "ai.onnx"}):
        yield (
            f"operators of the domains {custom} do not load in a plain onnxruntime; "
            "replace the torch operation that they come from"
        )
    if model.functions:
        yield (
            f"{len(model.functions)} model-local functions hide what runs; "
            "export modules without ONNX functions"
        )


def _opset(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    if versions != [expected.opset]:
        yield f"the graph is of opset {versions}, not {expected.opset}; export with another opset"


def _axes(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    signature = expected.signature
    for values, name, axes, element in (
        (model.graph.input, INPUT_IDS, signature.input_axes, TensorProto.INT64),
        (model.graph.output, LOGITS, signature.output_axes, TensorProto.FLOAT),
    ):
        for value in values:
            if (given := value.type.tensor_type.elem_type) != element:
                named = TensorProto.DataType.Name
                yield (
                    f"{value.name} is {named(given)} instead of {named(element)}, so callers would "
                    "send or get other numbers; export the module in float32"
                )
        dims = {value.name: value.type.tensor_type.shape.dim for value in values}
        found = {of: tuple(d.dim_param or d.dim_value for d in dim) for of, dim in dims.items()}
        if found != {name: axes}:
            yield (
                f"found {found} instead of {{{name!r}: {axes}}}: a number on a free axis means "
                "that other sizes fail; let the module map input_ids to logits without using "
                "their sizes as Python numbers"
            )


def _frozen_steps(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    """The free axes must still be free where recurrent nodes read them, at any sample shape."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred.value_info}
    for node in _recurrent_nodes(model):
        for axis, size in zip(("sequence", "batch"), shapes.get(node.input[0], ()), strict=False):
            one = expected.signature.min_length == expected.signature.max_length
            if size.HasField("dim_value") and not (one and axis == "sequence"):
                yield (
                    f"{node.name} reads a {axis} axis frozen to {size.dim_value}, so other sizes "
                    "fail; do not reshape with sizes read as Python numbers"
                )


def _frozen_constants(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    """Sizes of 0 and 1 are left out: they are axes and defaults everywhere.

    So are the guards' constants, which may be anything and are compared one by one.
    """
    own = guards(expected.signature, looks_up=True).constants
    suspects = dict(zip(expected.sample_shape, ("batch", "sequence"), strict=True))
    for name, values in _integer_constants(model):
        for value in values:
            if value > 1 and value in suspects and name not in own:
                yield (
                    f"constant {name} holds {value}, the {suspects[value]} size of the sample, so "
                    "other sizes may fail; do not read sizes as Python numbers (if it is a "
                    "coincidence, give to_onnx another sample_shape)"
                )


def _recurrent(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    nodes = _recurrent_nodes(model)
    if len(nodes) != expected.recurrent_nodes:
        yield (
            f"{len(nodes)} recurrent nodes instead of {expected.recurrent_nodes}: layers were "
            "unrolled or lost; keep each nn.GRU, nn.LSTM and nn.RNN a submodule of the model"
        )
    for node in nodes:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "GRU" and attributes.get("linear_before_reset", 0) != 1:
            yield (
                f"{node.name} lacks linear_before_reset=1, so it computes another formula than "
                "torch; export with onnxscript 0.7.1 or later"
            )
        if attributes.get("layout", 0) != 0:
            yield f"{node.name} has layout=1, which onnxruntime refuses; transpose its input"
    for node in model.graph.node:
        if node.op_type in ("Loop", "If"):
            yield (
                f"{node.name} is a {node.op_type}, whose steps run one by one; let nn.GRU and its "
                "like run over the sequence"
            )


def _guards(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    """Every answer has to pass the guards as they are written in `guards`."""
    lookups = id_lookups(model, expected.signature, CHECKED_IDS)
    made = guards(expected.signature, looks_up=not lookups)
    nodes = {node.name: node for node in model.graph.node}
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in made.constants
    }
    cure = "put them in with pe_deploy.export.guards.guard, and edit nothing behind it"
    for node in made.nodes:
        if nodes.get(node.name) != node:
            yield f"{node.name} is missing or changed, so a bad input may end the process; {cure}"
    for name, value in made.constants.items():
        if name not in constants or not np.array_equal(constants[name], value):
            yield f"{name} is missing or changed, so a bad input may pass; {cure}"
    own = {node.name for node in made.nodes}
    for node in (node for graph in graphs_in(model.graph) for node in graph.node):
        if INPUT_IDS in node.input and node.op_type != "Shape" and node.name not in own:
            yield f"{node.name} reads {INPUT_IDS} past the guards; {cure}"
    wanted = guard_names(expected.signature)["id"]
    last = [node for node in (*lookups, *made.nodes) if node.name == wanted]
    if not last or not _leads_to_output(model, last[0].output[0]):
        yield f"no answer depends on {wanted}, so ids outside the range may pass; {cure}"


def _scan(model: onnx.ModelProto, expected: Expectation) -> Iterator[str]:
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    bodies = [a.g for scan in scans for a in scan.attribute if a.name == "body"]
    found = sum(node.op_type in _ACTIVATIONS for body in bodies for node in body.node)
    wanted = sum(_IN_A_STEP[kind] * count for kind, count in expected.scanned.items())
    if found != wanted:
        yield (
            f"Scan nodes hold {found} activations instead of {wanted}: layers "
            "were lost or computed twice; export without the throughput form"
        )


RULES: tuple[Rule, ...] = (
    _one_file,
    _checker,
    _standard_domain,
    _opset,
    _axes,
    _frozen_steps,
    _frozen_constants,
    _recurrent,
    _guards,
    _scan,
)


def _recurrent_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in RECURRENT]


def _leads_to_output(model: onnx.ModelProto, value: str) -> bool:
    """Whether an output of the graph is computed from a value; nodes are in topological order."""
    made_of = {value}
    for node in model.graph.node:
        if made_of & set(node.input):
            made_of.update(node.output)
    return all(output.name in made_of for output in model.graph.output)


def _integer_constants(model: onnx.ModelProto) -> Iterator[tuple[str, list[int]]]:
    """Every constant that can be a shape, an axis or an index."""
    tensors = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append((node.name, attribute.t))
            elif node.op_type == "Constant" and attribute.name in ("value_int", "value_ints"):
                yield node.name, list(attribute.ints) or [attribute.i]
    for name, tensor in tensors:
        if tensor.data_type in (TensorProto.INT32, TensorProto.INT64):
            yield name, numpy_helper.to_array(tensor).flatten().tolist()
