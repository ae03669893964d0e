"""What has to be seen of an ONNX file before a runtime loads it.

onnxruntime answers with weights that are not numbers, fills in external data from whatever lies in
the current folder, and loads a graph of another export as gladly as the right one. So every tensor
is looked at, and the metadata, which says whose export it is.

The onnx package is no part of the base install. protobuf comes with onnxruntime, but to import it
takes an eighth of the time that numpy and onnxruntime take together, at each start of an app; it
copies the weights; and it passes over what no writer of ONNX does and two readers may take in two
ways: a field of another wire type than its own, a single field that occurs twice, groups. Here that
is refused. https://protobuf.dev/programming-guides/encoding says how messages lie in a file.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.errors import BundleError, errors_as

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEEPEST = 16
"""How deep graphs may lie in each other, as the body of a Scan lies in its graph."""

MOST_FIELDS = 2_000_000
"""How many fields and single numbers are read at most; a classifier's graph has some hundreds."""

Span = tuple[int, int]
"""Where a part of the file begins and ends."""

Fields = Mapping[str, list[Span]]
"""Of a message: where the contents of each of its fields lie."""

_PROTO = """
message ModelProto {
  GraphProto graph = 7; repeated StringStringEntryProto metadata_props = 14;
  repeated TrainingInfoProto training_info = 20; repeated FunctionProto functions = 25;
}
message StringStringEntryProto { string key = 1; string value = 2; }
message TrainingInfoProto { GraphProto initialization = 1; GraphProto algorithm = 2; }
message FunctionProto { repeated NodeProto node = 7; repeated AttributeProto attribute_proto = 11; }
message GraphProto {
  repeated NodeProto node = 1; repeated TensorProto initializer = 5;
  repeated SparseTensorProto sparse_initializer = 15;
}
message NodeProto { repeated AttributeProto attribute = 5; }
message AttributeProto {
  string name = 1; float f = 2; repeated float floats = 7;
  TensorProto t = 5; repeated TensorProto tensors = 10;
  GraphProto g = 6; repeated GraphProto graphs = 11;
  SparseTensorProto sparse_tensor = 22; repeated SparseTensorProto sparse_tensors = 23;
}
message SparseTensorProto { TensorProto values = 1; TensorProto indices = 2; }
message TensorProto {
  string name = 8; repeated int64 dims = 1; int32 data_type = 2; bytes segment = 3;
  bytes raw_data = 9; repeated float float_data = 4; repeated int32 int32_data = 5;
  repeated bytes string_data = 6; repeated int64 int64_data = 7; repeated double double_data = 10;
  repeated uint64 uint64_data = 11; repeated bytes external_data = 13; int32 data_location = 14;
}
"""
"""Of onnx.proto, the fields that hold tensors or lead to some (messages that do not, as bytes)."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_WIRES = {
    "double": _FIXED64,
    "float": _FIXED32,
    "int32": _VARINT,
    "int64": _VARINT,
    "uint64": _VARINT,
}


class Field(NamedTuple):
    """A field of a message, and the wire types that it may have."""

    name: str
    kind: str
    repeated: bool
    wires: tuple[int, ...]


def _field(repeated: str, kind: str, name: str) -> Field:
    wire = _WIRES.get(kind, _BYTES)
    return Field(name, kind, bool(repeated), (wire, _BYTES) if repeated else (wire,))  # or packed


SCHEMAS: Mapping[str, Mapping[int, Field]] = {
    message: {
        int(number): _field(*of)
        for *of, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body)
    }
    for message, body in re.findall(r"message (\w+) \{(.*?)\}", _PROTO, re.DOTALL)
}
"""Of each message: field number → field."""

FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16
_FLOATS = {
    FLOAT: ("<f4", "float_data"),
    FLOAT16: ("<f2", "int32_data"),
    DOUBLE: ("<f8", "double_data"),
    BFLOAT16: ("<u2", "int32_data"),  # its bits, since numpy has no bfloat16
}
"""The dtype of an element in `raw_data`, and where a type lies if not there."""
_FLOAT16_EXPONENT = 0x7C00
_NO_FLOATS = {2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 21, 22}
"""Integers of 4 to 64 bits, bool, and string."""
_STORAGES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


class Tensor(NamedTuple):
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


class OnnxFile(NamedTuple):
    """The metadata and every tensor of a model."""

    metadata: Mapping[str, str]
    tensors: list[Tensor]

    def check_tensors(self, name: str = ONNX) -> None:
        """Check that the model, a file of this name, is whole and its weights are numbers.

        Raises:
            BundleError: values lie in another file, or are not finite.
        """
        for tensor in self.tensors:
            if tensor.external:
                raise BundleError(
                    f"{name}: tensor {tensor.name[:100]!r} has external data; "
                    "allowed: every value in the file itself"
                )
            if tensor.values is None:
                continue
            if not is_sound(tensor.values, tensor.dims == ()):
                raise BundleError(f"{name}: tensor {tensor.name[:100]!r} is not finite")


def is_sound(values: NDArray[Any], is_scalar: bool) -> bool:
    """Whether numbers can be weights, which are finite, or a constant that people mask with.

    That is a single infinity of no axes, or an array of 0 and minus infinity.
    """
    if _are_finite(values):
        return True
    if is_scalar:
        return not np.isnan(values).any()
    return bool((values == 0).any() and ((values == 0) | (values == -np.inf)).all())


def _are_finite(values: NDArray[Any]) -> bool:
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    # numpy widens each to look at it, which takes ten times as long as its exponent.
    return bool(((values.view(np.uint16) & _FLOAT16_EXPONENT) != _FLOAT16_EXPONENT).all())


def read_onnx(data: bytes, name: str = ONNX) -> OnnxFile:
    """Read the metadata and the tensors of a model, a file of this name.

    Raises:
        BundleError: it is malformed, has too much in it, or a tensor of a type whose values cannot
            be checked (complex, or a float of 8 bits or fewer).
    """
    with errors_as(BundleError, f"{name} is malformed: "):
        reader = _Reader(data)
        if not reader.read((0, len(data)), "ModelProto")["graph"]:
            raise ValueError("it holds no graph")
    return OnnxFile(reader.metadata, reader.tensors)


class _Reader:
    """Goes through a model once and gathers its metadata and tensors."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_FIELDS
        self.metadata: dict[str, str] = {}
        self.tensors: list[Tensor] = []

    def read(self, span: Span, kind: str, depth: int = 0) -> Fields:
        """Read a message and all that lies in it."""
        depth += kind == "GraphProto"
        if depth > DEEPEST:
            raise ValueError(f"graphs lie in each other deeper than {DEEPEST} levels")
        fields = self._fields(span, SCHEMAS[kind])
        if kind == "TensorProto":
            self._tensor(fields)
        elif kind == "AttributeProto":
            self._float_attribute(fields)
        elif kind == "StringStringEntryProto":
            key = self._text(fields["key"])
            if key in self.metadata:
                raise ValueError(f"metadata {key[:100]!r} occurs twice")
            self.metadata[key] = self._text(fields["value"])
        for field in SCHEMAS[kind].values():
            if field.kind in SCHEMAS:
                for part in fields[field.name]:
                    self.read(part, field.kind, depth)
        return fields

    def _float_attribute(self, fields: Fields) -> None:
        for field in ("f", "floats"):
            if fields[field]:
                values = self._fixed(fields[field], "<f4")
                dims = () if field == "f" else values.shape
                self.tensors.append(Tensor(self._text(fields["name"]), FLOAT, dims, False, values))

    def _tensor(self, fields: Fields) -> None:
        name = self._text(fields["name"])
        what = f"tensor {name[:100]!r}"
        data_type = next(self._varints(fields["data_type"]), 0)
        dims = tuple(self._varints(fields["dims"]))
        external = bool(fields["external_data"]) or any(self._varints(fields["data_location"]))
        if len(dims) > 64:  # the product of a million sizes would take hours
            raise ValueError(f"{what} has {len(dims)} dimensions")
        if data_type not in _FLOATS and data_type not in _NO_FLOATS:
            raise ValueError(f"{what} has data type {data_type}")
        values = None
        if data_type in _FLOATS and not external:
            values = self._values(data_type, fields)
            if values is None or values.size != math.prod(dims) or fields["segment"]:
                raise ValueError(
                    f"{what} of shape {list(dims)[:10]} does not hold the values of its shape and "
                    "type"
                )
        self.tensors.append(Tensor(name, data_type, dims, external, values))

    def _values(self, data_type: int, fields: Fields) -> NDArray[np.floating[Any]] | None:
        """The values of a float tensor; None where they lie where they do not belong."""
        dtype, typed = _FLOATS[data_type]
        stored = [storage for storage in _STORAGES if fields[storage]] or ["raw_data"]
        values: NDArray[Any]
        if stored == ["int32_data"] == [typed]:  # the bits of 16-bit floats
            bits = list(self._varints(fields[typed]))
            if max(bits, default=0) >= 2**16:
                return None
            values = np.array(bits, "<u2").view(dtype)
        elif stored in (["raw_data"], [typed]):
            values = self._fixed(fields[stored[0]], dtype)
        else:
            return None
        return (values.astype("<u4") << 16).view("<f4") if data_type == BFLOAT16 else values

    def _fixed(self, spans: list[Span], dtype: str) -> NDArray[Any]:
        """The numbers of fixed size in some spans; of a single one a view, not a copy."""
        size = np.dtype(dtype).itemsize
        if any((end - begin) % size for begin, end in spans):
            raise ValueError(f"values of {size} bytes each do not fill their place")
        parts = [
            np.frombuffer(self._data, dtype, (end - begin) // size, begin) for begin, end in spans
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype)])

    def _varints(self, spans: Iterable[Span]) -> Iterator[int]:
        """The whole numbers in some spans, packed or one in each."""
        for at, end in spans:
            while at < end:
                self._count()
                value, at = self._varint(at, end)
                yield value

    def _text(self, spans: list[Span]) -> str:
        return self._data[slice(*spans[0])].decode() if spans else ""

    def _fields(self, span: Span, schema: Mapping[int, Field]) -> Fields:
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
                raise ValueError(f"wire type {wire} at byte {at}")
            if not 0 < number < 2**29 or after > end:
                raise ValueError(f"a field at byte {at} leaves its message")
            if (field := schema.get(number)) is not None:
                if wire not in field.wires or (found[field.name] and not field.repeated):
                    raise ValueError(
                        f"{field.name} at byte {at} has wire type {wire}, or occurs twice"
                    )
                found[field.name].append((begin, after))
            at = after
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A whole number of up to 64 bits, and where it ends."""
        if at < end and self._data[at] < 128:
            return self._data[at], at + 1  # almost all of them
        value = 0
        for shift, byte in zip(range(0, 70, 7), self._data[at : min(end, at + 10)], strict=False):
            value |= (byte & 127) << shift
            if byte < 128 and value < 2**64:
                return value, at + shift // 7 + 1
        raise ValueError(f"no whole number ends at byte {at}")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it has more than {MOST_FIELDS} fields")
