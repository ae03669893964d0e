"""The reader of `model.onnx` in the base install finds what the onnx package finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper
from onnx import numpy_helper as numpy_of

from pe_deploy import BundleError
from pe_deploy.bundle import onnx_file
from pe_deploy.bundle.onnx_file import read_onnx

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
OTHERS = (
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.UINT8,
    TensorProto.BOOL,
    TensorProto.UINT64,
    TensorProto.STRING,
    TensorProto.INT4,
)
NO_TENSORS = {"StringStringEntryProto"}


class Maker:
    """Random models with a tensor wherever onnx.proto has room for one."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def chance(self, share: float = 0.5) -> bool:
        return bool(self.rng.random() < share)

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}é"

    def tensor(self) -> TensorProto:
        kind = int(self.rng.choice(FLOATS if self.chance(0.8) else OTHERS))
        dims = tuple(int(size) for size in self.rng.integers(0, 4, self.rng.integers(0, 4)))
        count = int(np.prod(dims))
        values: Any
        if kind == TensorProto.STRING:
            values = [b"text"] * count
        elif kind in FLOATS:
            values = self.rng.normal(size=count).astype(np.float32)
            if self.chance(0.2) and count:
                values[self.rng.integers(count)] = self.rng.choice([np.nan, np.inf, -np.inf])
        else:
            values = self.rng.integers(0, 2, count)
        raw = kind != TensorProto.STRING and self.chance()
        if not raw:
            return helper.make_tensor(self.name(), kind, dims, values)
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        made = numpy_of.from_array(np.asarray(values).astype(dtype).reshape(dims), self.name())
        assert made.HasField("raw_data")
        return made

    def sparse(self) -> SparseTensorProto:
        values = numpy_of.from_array(self.rng.normal(size=2), self.name())
        indices = numpy_of.from_array(np.array([1, 3]), self.name())
        return helper.make_sparse_tensor(values, indices, [5])

    def attribute(self, depth: int) -> AttributeProto:
        kind = int(self.rng.integers(9 if depth < 4 else 7))
        makers: list[Callable[[], Any]] = [
            lambda: self.tensor(),
            lambda: [self.tensor(), self.tensor()],
            lambda: self.sparse(),
            lambda: 1.5,
            lambda: [0.5, float(self.rng.choice([1, np.nan]))],
            lambda: 3,
            lambda: ["a", "b"],
            lambda: self.graph(depth + 1),
            lambda: [self.graph(depth + 1)],
        ]
        return helper.make_attribute(self.name(), makers[kind](), doc_string="why")

    def node(self, depth: int) -> NodeProto:
        node = helper.make_node("Scan", ["a"], ["b"], name="node", doc_string="what")
        node.attribute.extend(self.attribute(depth) for _ in range(self.rng.integers(3)))
        return node

    def graph(self, depth: int = 1) -> GraphProto:
        value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 3])
        nodes = [self.node(depth) for _ in range(self.rng.integers(3))]
        tensors = [self.tensor() for _ in range(self.rng.integers(4))]
        graph = helper.make_graph(nodes, "graph", [value], [value], tensors, value_info=[value])
        if self.chance():
            graph.sparse_initializer.append(self.sparse())
        return graph

    def model(self) -> onnx.ModelProto:
        model = helper.make_model(self.graph())
        helper.set_model_props(model, {"é": "ü", "empty": ""})
        if self.chance():
            opsets = [helper.make_opsetid("", 18)]
            function = helper.make_function("own", "f", ["a"], ["b"], [self.node(1)], opsets)
            function.attribute_proto.append(self.attribute(1))
            model.functions.append(function)
        if self.chance():
            model.training_info.add().algorithm.CopyFrom(self.graph())
        return model


def tensors_of(message: Any) -> Iterator[TensorProto | AttributeProto]:
    """Every tensor anywhere in a message, and every attribute with floats, by onnx itself."""
    if isinstance(message, TensorProto):
        yield message
        return
    if isinstance(message, AttributeProto) and (message.HasField("f") or message.floats):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                yield from tensors_of(each)


def facts(found: TensorProto | AttributeProto) -> tuple[Any, ...]:
    """Name, type, dims, and the bits of the values as float64; None where they are no floats."""
    if isinstance(found, AttributeProto):
        single = found.HasField("f")
        values = np.array([found.f] if single else found.floats, np.float32)
        dims: tuple[int, ...] = () if single else values.shape
        return found.name, int(TensorProto.FLOAT), dims, values.astype(np.float64).tobytes()
    bits = None
    if found.data_type in FLOATS:
        bits = numpy_of.to_array(found).astype(np.float64).tobytes()
    return found.name, found.data_type, tuple(found.dims), bits


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_the_same_tensors_are_found(first: int) -> None:
    seen = 0
    for seed in range(first, first + 50):
        model = Maker(seed).model()
        data = model.SerializeToString()
        read = read_onnx(data)
        expected = sorted((facts(each) for each in tensors_of(model)), key=str)
        found = [
            (
                each.name,
                each.data_type,
                each.dims,
                None if each.values is None else each.values.astype(np.float64).tobytes(),
            )
            for each in read.tensors
        ]
        assert sorted(found, key=str) == expected
        assert dict(read.metadata) == {"é": "ü", "empty": ""}
        seen += len(expected)
        sound = True
        for each in tensors_of(model):
            _, _, dims, bits = facts(each)
            if bits is not None:
                values = np.frombuffer(bits)
                sound &= not (np.isnan(values) if dims == () else ~np.isfinite(values)).any()
        if sound:
            read.check_tensors()
        else:
            with pytest.raises(BundleError, match="is not finite"):
                read.check_tensors()
    assert seen > 100


@pytest.mark.parametrize("kind", onnx_file.SCHEMAS)
def test_the_fields_are_those_of_onnx(kind: str) -> None:
    """Of the onnx that is installed: a new field there that leads to a tensor shows here."""
    schema, message = onnx_file.SCHEMAS[kind], getattr(onnx, kind)
    for number, field in schema.items():
        theirs = message.DESCRIPTOR.fields_by_name[field.name]
        assert theirs.number == number
        if field.kind in onnx_file.SCHEMAS:
            assert theirs.message_type.name == field.kind
    for theirs in message.DESCRIPTOR.fields:
        inside = theirs.message_type
        if inside is not None and inside.name in onnx_file.SCHEMAS.keys() - NO_TENSORS:
            assert schema[theirs.number].kind == inside.name


def test_external_data_of_onnx_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [], [numpy_of.from_array(np.ones(600), "weights")])
    onnx.save(
        helper.make_model(graph), tmp_path / "model.onnx", save_as_external_data=True,
        location="weights.bin", size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "weights.bin").exists()
    with pytest.raises(BundleError, match="tensor 'weights' has external data"):
        read_onnx((tmp_path / "model.onnx").read_bytes()).check_tensors()


@pytest.mark.parametrize("kind", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN])
def test_types_that_cannot_be_checked_are_refused(kind: int) -> None:
    tensor = helper.make_tensor("w", kind, [2], [0.0, 1.0])
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    with pytest.raises(BundleError, match=f"tensor 'w' has data type {kind}"):
        read_onnx(model.SerializeToString())
