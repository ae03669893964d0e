"""What is refused of an ONNX file before a runtime sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pe_deploy import BundleError, open_bundle
from pe_deploy.bundle.onnx_file import read_onnx
from tests.bundle.protobuf import delimited, fields_of, model, raw, tensor, varint, whole

BFLOAT16_NAN, FLOAT16_NAN = 0x7FC0, 0x7E00
NOT_FINITE = {
    "float32": tensor("w", 1, raw([1, np.nan])),
    "infinite": tensor("w", 1, raw([1, -np.inf])),
    "float64": tensor("w", 11, raw([1, np.nan], "<f8")),
    "float16": tensor("w", 10, raw([1, np.nan], "<f2")),
    "bfloat16": tensor("w", 16, raw([0, BFLOAT16_NAN], "<u2")),
    "float_data": tensor("w", 1, delimited(4, struct.pack("<2f", 1, np.nan))),
    "float_data unpacked": tensor(
        "w", 1, *(struct.pack("<Bf", 4 << 3 | 5, v) for v in (1, np.inf))
    ),
    "double_data": tensor("w", 11, delimited(10, struct.pack("<2d", 1, np.inf))),
    "float16 in int32_data": tensor("w", 10, delimited(5, varint(0) + varint(FLOAT16_NAN))),
    "bfloat16 in int32_data": tensor("w", 16, whole(5, 0), whole(5, BFLOAT16_NAN)),
    "a single NaN": tensor("w", 1, raw(np.nan), dims=()),
}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_weights_have_to_be_finite(name: str) -> None:
    bad = NOT_FINITE[name]
    attribute = delimited(1, b"body")
    inside = delimited(1, delimited(5, attribute + delimited(6, delimited(5, bad))))
    for data in (
        model(bad),
        model(tensor("good", 1, raw([1, 2])), bad),
        model(nodes=delimited(1, delimited(5, attribute + delimited(5, bad)))),
        model(nodes=delimited(1, delimited(5, attribute + delimited(10, bad)))),
        model(nodes=inside),
        model(nodes=delimited(15, delimited(1, bad))),
        model() + delimited(25, delimited(7, delimited(5, attribute + delimited(5, bad)))),
        model() + delimited(20, delimited(1, delimited(5, bad))),
    ):
        with pytest.raises(BundleError, match=r"model\.onnx: tensor 'w' is not finite"):
            read_onnx(data).check_tensors()


def test_float_attributes_have_to_be_finite() -> None:
    for field in (struct.pack("<Bf", 2 << 3 | 5, np.nan), delimited(7, struct.pack("<f", np.inf))):
        node = delimited(1, delimited(5, delimited(1, b"alpha") + field))
        with pytest.raises(BundleError, match="tensor 'alpha' is not finite"):
            read_onnx(model(nodes=node)).check_tensors()


def test_a_single_infinity_may_mask() -> None:
    read_onnx(model(tensor("mask", 1, raw(-np.inf), dims=()))).check_tensors()


def test_whole_numbers_are_always_finite() -> None:
    found = read_onnx(model(tensor("i", 7, raw([-1, 2**62], "<i8")), tensor("s", 8))).tensors
    assert [each.values for each in found] == [None, None]


@pytest.mark.parametrize(
    "parts",
    [
        (whole(14, 1),),
        (delimited(13, delimited(1, b"location") + delimited(2, b"weights.bin")),),
        (whole(14, 1), delimited(13, delimited(1, b"location") + delimited(2, b"../w"))),
        (whole(14, 2), raw([1, 2])),
    ],
)
def test_external_data_is_refused(parts: tuple[bytes, ...]) -> None:
    for kind in (1, 7):
        with pytest.raises(BundleError, match=r"model\.onnx: tensor 'w' has external data"):
            read_onnx(model(tensor("w", kind, *parts))).check_tensors()


def nested(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = delimited(1, delimited(5, delimited(6, graph)))
    return delimited(7, graph)


MALFORMED = {
    "nothing": b"",
    "no graph": delimited(14, delimited(1, b"key")),
    "two graphs": model() + model(),
    "cut in a tag": b"\xba",
    "cut in a length": b"\x3a\xff",
    "past the end": b"\x3a\x05abc",
    "past its parent": delimited(7, b"\x2a\x09abc") + b"abcdef",
    "a huge length": b"\x3a" + varint(2**63),
    "a varint of 11 bytes": whole(1, 0)[:1] + b"\xff" * 10 + b"\x01",
    "a varint over 64 bits": whole(1, 0)[:1] + b"\xff" * 9 + b"\x7f",
    "a group": b"\x3b\x3c",
    "wire type 6": b"\x3e",
    "field 0": b"\x02\x00",
    "a graph as a number": whole(7, 1),
    "dims as doubles": model(struct.pack("<Bd", 1 << 3 | 1, 1.0)),
    "two names": model(tensor("w", 1, delimited(8, b"v"), raw([1, 2]))),
    "two raws": model(tensor("w", 1, raw([1, 2]), raw([1, 2]))),
    "two storages": model(tensor("w", 1, raw([1, 2]), delimited(4, bytes(8)))),
    "the wrong storage": model(tensor("w", 1, delimited(10, bytes(16)))),
    "too few values": model(tensor("w", 1, raw([1]))),
    "too many values": model(tensor("w", 1, raw([1, 2, 3]))),
    "no values": model(tensor("w", 1)),
    "half a value": model(tensor("w", 1, delimited(9, bytes(7)))),
    "a negative size": model(tensor("w", 1, raw([]), dims=(2**64 - 1,))),
    "a segment": model(tensor("w", 1, raw([1, 2]), delimited(3, b""))),
    "17 bits of a float16": model(tensor("w", 10, delimited(5, varint(2**16) * 2))),
    "a name of no text": model(tensor("w", 1, raw([1, 2])).replace(b"w", b"\xff")),
    "no type": model(delimited(8, b"w")),
    "a complex type": model(tensor("w", 14, delimited(4, bytes(16)))),
    "an 8-bit float": model(tensor("w", 17, delimited(9, b"\x7f\x7f"))),
    "two metadata of a key": model() + delimited(14, delimited(1, b"k")) * 2,
    "graphs in graphs": nested(16),
    "graphs without end": nested(2000),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_model_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=r"^model\.onnx is malformed: ") as caught:
        read_onnx(MALFORMED[name])
    assert "\n" not in str(caught.value)


def test_a_tensor_has_few_dimensions() -> None:
    """The product of this many sizes would take hours."""
    data = model(tensor(dims=(2**64 - 1,) * 200_000))
    with pytest.raises(BundleError, match="'w' has 200000 dimensions"):
        read_onnx(data)


def test_graphs_may_lie_in_graphs() -> None:
    read_onnx(nested(15))


def test_too_many_fields_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pe_deploy.bundle.onnx_file.MOST_FIELDS", 1000)
    for data in (whole(99, 0) * 1000, delimited(14, whole(99, 0) * 1000)):
        with pytest.raises(BundleError, match="more than 1000 fields"):
            read_onnx(model() + data)


def test_no_prefix_of_a_model_raises_anything_else(notebook_bundle: Path) -> None:
    data = (notebook_bundle / "model.onnx").read_bytes()
    for size in [*range(300), *range(300, len(data), 97)]:
        try:
            read_onnx(data[:size]).check_tensors()
        except BundleError:
            continue
        assert data[size] in (0x42, 0x72, 0x3A)  # cut between two fields of the model itself


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NOT_FINITE["float32"], "tensor 'w' is not finite"),
        (tensor("w", 1, whole(14, 1)), "tensor 'w' has external data"),
        (b"\xff", "is malformed"),
    ],
)
def test_an_unsound_model_is_refused_on_opening(
    own_bundle: Path, reseal: Callable[..., bytes], bad: bytes, message: str
) -> None:
    path = own_bundle / "model.onnx"
    good = fields_of(path.read_bytes())
    path.write_bytes(delimited(7, good[7] + delimited(5, bad)) + delimited(14, good[14]))
    reseal(own_bundle)
    with pytest.raises(BundleError, match=rf"model\.onnx.*{message}"):
        open_bundle(own_bundle)
