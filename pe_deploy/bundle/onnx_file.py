"""What has to be seen of `model.onnx` before a runtime loads it, read without the onnx package.

A strict reader of protobuf's wire format for those fields of onnx.proto that hold tensors, or lead
to some. What protobuf allows and no writer of ONNX does is refused: a field of another wire type
than its own, a single field that occurs twice, groups.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEEPEST = 16
"""How deep graphs may lie in each other, as the body of a Scan lies in its graph."""

MOST_FIELDS = 2_000_000
"""How many fields and single numbers are read at most; a classifier's graph has some hundreds."""

MOST_DIMS = 64
"""How many dimensions a tensor may have; the product of a million sizes would take hours."""

Span = tuple[int, int]
"""Where a part of the file begins and ends."""

_Schema = Mapping[int, tuple[str, tuple[int, ...], bool]]
"""Of a message: field number → its name here, the wire types that it may have, whether repeated."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_PART, _PARTS = ((_BYTES,), False), ((_BYTES,), True)  # messages, texts, bytes: one, any number


def _number(wire: int) -> tuple[tuple[int, ...], bool]:
    return (wire,), False


def _numbers(wire: int) -> tuple[tuple[int, ...], bool]:
    return (wire, _BYTES), True  # one by one, or packed


# Field numbers of onnx.proto, which never change.
_MODEL: _Schema = {
    7: ("graph", *_PART),
    14: ("metadata_props", *_PARTS),
    20: ("training_info", *_PARTS),
    25: ("functions", *_PARTS),
}
_ENTRY: _Schema = {1: ("key", *_PART), 2: ("value", *_PART)}
_TRAINING: _Schema = {1: ("initialization", *_PART), 2: ("algorithm", *_PART)}
_FUNCTION: _Schema = {7: ("node", *_PARTS), 11: ("attribute_proto", *_PARTS)}
_GRAPH: _Schema = {
    1: ("node", *_PARTS),
    5: ("initializer", *_PARTS),
    15: ("sparse_initializer", *_PARTS),
}
_NODE: _Schema = {5: ("attribute", *_PARTS)}
_ATTRIBUTE: _Schema = {
    1: ("name", *_PART),
    2: ("f", *_number(_FIXED32)),
    5: ("t", *_PART),
    6: ("g", *_PART),
    7: ("floats", *_numbers(_FIXED32)),
    10: ("tensors", *_PARTS),
    11: ("graphs", *_PARTS),
    22: ("sparse_tensor", *_PART),
    23: ("sparse_tensors", *_PARTS),
}
_SPARSE: _Schema = {1: ("values", *_PART), 2: ("indices", *_PART)}
_TENSOR: _Schema = {
    1: ("dims", *_numbers(_VARINT)),
    2: ("data_type", *_number(_VARINT)),
    3: ("segment", *_PART),
    4: ("float_data", *_numbers(_FIXED32)),
    5: ("int32_data", *_numbers(_VARINT)),
    6: ("string_data", *_PARTS),
    7: ("int64_data", *_numbers(_VARINT)),
    8: ("name", *_PART),
    9: ("raw_data", *_PART),
    10: ("double_data", *_numbers(_FIXED64)),
    11: ("uint64_data", *_numbers(_VARINT)),
    13: ("external_data", *_PARTS),
    14: ("data_location", *_number(_VARINT)),
}
_STORAGES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")

FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16
_FLOATS = {FLOAT: "<f4", FLOAT16: "<f2", DOUBLE: "<f8", BFLOAT16: "<u2"}
"""The dtype of an element in `raw_data`; numpy has no bfloat16, so that its bits stand for it."""
_NO_FLOATS = {2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 21, 22}
"""Integers of 4 to 64 bits, bool, and string."""
_TYPED = {FLOAT: "float_data", DOUBLE: "double_data"}  # where a type lies if not in `raw_data`
_TYPED |= {FLOAT16: "int32_data", BFLOAT16: "int32_data"}


@dataclass(frozen=True)
class Tensor:
    """A tensor anywhere in the model, or a float attribute of a node.

    Attributes:
        name: its own, or of an attribute the attribute's.
        data_type: the number of `TensorProto.DataType`.
        dims: its shape.
        external: whether its values lie in another file.
        values: of float16, bfloat16, float32 and float64, flat, a view of the file where it can be
            (bfloat16 as float32); of other types, and where they lie elsewhere, None.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    external: bool
    values: NDArray[np.floating[Any]] | None

    @property
    def is_sound(self) -> bool:
        """Whether every value is finite; a single infinity may be a constant, as in a mask."""
        if self.values is None:
            return True
        wrong = np.isnan(self.values) if self.dims == () else ~np.isfinite(self.values)
        return not wrong.any()


@dataclass(frozen=True)
class OnnxFile:
    """The metadata and every tensor of a model."""

    metadata: Mapping[str, str]
    tensors: tuple[Tensor, ...]

    def check_tensors(self, name: str = ONNX) -> None:
        """Check that the model, a file of this name, is whole and its weights are numbers.

        Raises:
            BundleError: values lie in another file, or are not finite.
        """
        for tensor in self.tensors:
            # onnxruntime would look for that file in the current folder.
            if tensor.external:
                raise BundleError(
                    f"{name}: tensor {tensor.name[:100]!r} has external data; "
                    "allowed: every value in the file itself"
                )
            if not tensor.is_sound:
                raise BundleError(f"{name}: tensor {tensor.name[:100]!r} is not finite")


def read_onnx(data: bytes, name: str = ONNX) -> OnnxFile:
    """Read the metadata and the tensors of a model, a file of this name.

    Raises:
        BundleError: it is malformed, has too much in it, or a tensor of a type whose values cannot
            be checked (complex, or a float of 8 bits or fewer).
    """
    try:
        return _Reader(data).model()
    except _MalformedError as error:
        raise BundleError(f"{name} is malformed: {error}") from error


class _MalformedError(Exception):
    """Why bytes are no model."""


class _Reader:
    """Goes through a model once and gathers its tensors."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_FIELDS
        self._tensors: list[Tensor] = []

    def model(self) -> OnnxFile:
        model = self._fields((0, len(self._data)), _MODEL)
        if not model["graph"]:
            raise _malformed("it holds no graph")
        self._graph(model["graph"][0], 1)
        for span in model["functions"]:
            function = self._fields(span, _FUNCTION)
            self._nodes(function["node"], 1)
            self._attributes(function["attribute_proto"], 1)
        for span in model["training_info"]:
            training = self._fields(span, _TRAINING)
            for graph in (*training["initialization"], *training["algorithm"]):
                self._graph(graph, 1)
        return OnnxFile(self._metadata(model["metadata_props"]), tuple(self._tensors))

    def _metadata(self, spans: Iterable[Span]) -> dict[str, str]:
        metadata: dict[str, str] = {}
        for span in spans:
            entry = self._fields(span, _ENTRY)
            key = self._text(entry["key"])
            if key in metadata:
                raise _malformed(f"metadata {key[:100]!r} occurs twice")
            metadata[key] = self._text(entry["value"])
        return metadata

    def _graph(self, span: Span, depth: int) -> None:
        if depth > DEEPEST:
            raise _malformed(f"graphs lie in each other deeper than {DEEPEST} levels")
        graph = self._fields(span, _GRAPH)
        for tensor in graph["initializer"]:
            self._tensor(tensor)
        for sparse in graph["sparse_initializer"]:
            self._sparse(sparse)
        self._nodes(graph["node"], depth)

    def _nodes(self, spans: Iterable[Span], depth: int) -> None:
        for span in spans:
            self._attributes(self._fields(span, _NODE)["attribute"], depth)

    def _attributes(self, spans: Iterable[Span], depth: int) -> None:
        for span in spans:
            attribute = self._fields(span, _ATTRIBUTE)
            for tensor in (*attribute["t"], *attribute["tensors"]):
                self._tensor(tensor)
            for sparse in (*attribute["sparse_tensor"], *attribute["sparse_tensors"]):
                self._sparse(sparse)
            for graph in (*attribute["g"], *attribute["graphs"]):
                self._graph(graph, depth + 1)
            for field in ("f", "floats"):
                if attribute[field]:
                    values = self._fixed(attribute[field], "<f4")
                    dims = () if field == "f" else values.shape
                    name = self._text(attribute["name"])
                    self._tensors.append(Tensor(name, FLOAT, dims, False, values))

    def _sparse(self, span: Span) -> None:
        sparse = self._fields(span, _SPARSE)
        for tensor in (*sparse["values"], *sparse["indices"]):
            self._tensor(tensor)

    def _tensor(self, span: Span) -> None:
        fields = self._fields(span, _TENSOR)
        name = self._text(fields["name"])
        data_type = next(iter(self._varints(fields["data_type"])), 0)
        dims = tuple(self._varints(fields["dims"]))
        external = bool(fields["external_data"]) or any(self._varints(fields["data_location"]))
        if len(dims) > MOST_DIMS:
            raise _malformed(f"tensor {name[:100]!r} has {len(dims)} dimensions")
        if data_type not in _FLOATS and data_type not in _NO_FLOATS:
            raise _malformed(f"tensor {name[:100]!r} has data type {data_type}")
        values = None
        if data_type in _FLOATS and not external:
            stored = [storage for storage in _STORAGES if fields[storage]]
            values = self._values(data_type, stored, fields)
            if values is None or values.size != math.prod(dims) or fields["segment"]:
                raise _malformed(
                    f"tensor {name[:100]!r} of shape {list(dims)[:10]} does not hold the values "
                    "of its shape and type"
                )
        self._tensors.append(Tensor(name, data_type, dims, external, values))

    def _values(
        self, data_type: int, stored: list[str], fields: Mapping[str, list[Span]]
    ) -> NDArray[np.floating[Any]] | None:
        """The values of a float tensor; None where they lie where they do not belong."""
        dtype = _FLOATS[data_type]
        values: NDArray[Any]
        if not stored:
            values = np.empty(0, dtype)
        elif stored == ["raw_data"]:
            values = self._fixed(fields["raw_data"], dtype)
        elif stored != [_TYPED[data_type]]:
            return None
        elif stored == ["int32_data"]:  # the bits of 16-bit floats
            bits = list(self._varints(fields["int32_data"]))
            if any(value >= 2**16 for value in bits):
                return None
            values = np.array(bits, "<u2").view(dtype)
        else:
            values = self._fixed(fields[stored[0]], dtype)
        if data_type == BFLOAT16:
            values = (values.astype("<u4") << 16).view("<f4")
        return values

    def _fixed(self, spans: list[Span], dtype: str) -> NDArray[Any]:
        """The numbers of fixed size in some spans; of a single one a view, not a copy."""
        size = np.dtype(dtype).itemsize
        if any((end - begin) % size for begin, end in spans):
            raise _malformed(f"values of {size} bytes each do not fill their place")
        parts = [
            np.frombuffer(self._data, dtype, (end - begin) // size, begin)
            if begin < end
            else np.empty(0, dtype)
            for begin, end in spans
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _varints(self, spans: Iterable[Span]) -> Iterable[int]:
        """The whole numbers in some spans, packed or one in each."""
        for at, end in spans:
            while at < end:
                self._count()
                value, at = self._varint(at, end)
                yield value

    def _text(self, spans: list[Span]) -> str:
        if not spans:
            return ""
        begin, end = spans[0]
        try:
            return self._data[begin:end].decode()
        except UnicodeDecodeError as error:
            raise _malformed(f"a text is not UTF-8 at byte {begin + error.start}") from error

    def _fields(self, span: Span, schema: _Schema) -> defaultdict[str, list[Span]]:
        """Where the fields of a message lie that its schema knows; the others are passed over."""
        found: defaultdict[str, list[Span]] = defaultdict(list)
        at, end = span
        while at < end:
            self._count()
            tag, begin = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if wire == _BYTES:
                length, begin = self._varint(begin, end)
                after = begin + length
            elif wire == _VARINT:
                after = self._varint(begin, end)[1]
            elif wire in (_FIXED32, _FIXED64):
                after = begin + (4 if wire == _FIXED32 else 8)
            else:
                raise _malformed(f"wire type {wire} at byte {at}")
            if not 0 < number < 2**29 or after > end:
                raise _malformed(f"a field at byte {at} leaves its message")
            if number in schema:
                name, wires, repeated = schema[number]
                if wire not in wires or (found[name] and not repeated):
                    raise _malformed(f"{name} at byte {at} has wire type {wire}, or occurs twice")
                found[name].append((begin, after))
            at = after
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A whole number of up to 64 bits, and where it ends."""
        if at < end and self._data[at] < 128:
            return self._data[at], at + 1  # almost all of them
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**64:
                    break
                return value, at
        raise _malformed(f"no whole number ends at byte {at}")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _malformed(f"it has more than {MOST_FIELDS} fields")


def _malformed(why: str) -> _MalformedError:
    return _MalformedError(why)
