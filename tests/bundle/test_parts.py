"""The parts of a bundle are sound and of one export, even where somebody forged the seal."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import Bundle, BundleError, open_bundle
from pe_deploy.bundle import golden_from_bytes, golden_to_bytes
from pe_deploy.bundle.golden import golden_weights
from pe_deploy.bundle.onnx_file import read_onnx

Reseal = Callable[..., bytes]
SHA = "a" * 64


# --- of one export ---------------------------------------------------------------------------


def sibling(bundle: Bundle, name: str) -> bytes:
    """The same file, as an export of other weights would make it."""
    own, other = bundle.manifest.weights_sha256.encode(), b"0" * 64
    if name == "golden.npz":
        return golden_to_bytes(bundle.golden(), other.decode())
    if name.endswith(".onnx"):
        return bundle.files[name].replace(own, other)
    return zip_with(bundle.files[name], lambda _, content: content.replace(own, other))


def zip_with(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """An archive with its members changed, or left out."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as rewritten:
        for entry in source.infolist():
            content = change(entry.filename, source.read(entry))
            if content is not None:
                rewritten.writestr(entry, content)
    return target.getvalue()


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx", "model.throughput.onnx", "model.pt"])
def test_a_sibling_of_another_export_is_refused(
    own_bundle: Path, reseal: Reseal, name: str
) -> None:
    made = sibling(open_bundle(own_bundle), name)
    (own_bundle / name).write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=f"{name} is of another export: its weights_sha256"):
        open_bundle(own_bundle)


def test_a_manifest_of_another_export_is_refused(own_bundle: Path, reseal: Reseal) -> None:
    reseal(own_bundle, weights_sha256=SHA)
    with pytest.raises(BundleError, match=f"is of another export: .* in manifest.json {SHA}"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("only", ["model.onnx", "model.throughput.onnx", "model.pt"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 0.25),
        ("labels", [1, 0]),
        ("labels", ["0", "1"]),
        ("model", None),
        ("signature", "max_length"),
    ],
)
def test_a_part_and_the_manifest_say_the_same(
    own_bundle: Path, reseal: Reseal, only: str, key: str, value: Any
) -> None:
    """A bundle with one format, the decision changed in a manifest that vouches for itself."""
    for name in {"model.onnx", "model.throughput.onnx", "model.pt"} - {only}:
        (own_bundle / name).unlink()
    reseal(own_bundle)
    assert only in open_bundle(own_bundle).files
    if key == "signature":
        value = json.loads((own_bundle / "manifest.json").read_bytes())["signature"]
        value["max_length"] += 1
    reseal(own_bundle, **{key: value})
    with pytest.raises(BundleError, match=f"{only} is of another export: its {key} is not"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "is not JSON"),
        (b"[" * 1000, "is not JSON: nested deeper"),
        (b'{"labels": [0, 1], "labels": [1, 0]}', "is not JSON: key 'labels' occurs twice"),
        (b"[]", "does not hold just signature, labels"),
        (b"{}", "does not hold just signature, labels"),
        (None, "does not say which export it is of"),
    ],
)
@pytest.mark.parametrize("name", ["model.onnx", "model.pt"])
def test_a_part_has_to_say_whose_it_is(
    own_bundle: Path, reseal: Reseal, name: str, config: bytes | None, message: str
) -> None:
    data = (own_bundle / name).read_bytes()
    if name == "model.pt":
        made = zip_with(data, lambda member, old: config if "extra" in member else old)
    else:
        graph = fields_of(data)[7]
        made = delimited(7, graph)
        if config is not None:
            made += delimited(14, delimited(1, b"pe_deploy.json") + delimited(2, config))
    (own_bundle / name).write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=rf"{name}.*{message}"):
        open_bundle(own_bundle)


# --- model.onnx ------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def fields_of(data: bytes) -> dict[int, bytes]:
    """The last content of each delimited field of a message that is known to be good."""
    found, at = {}, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value

    while at < len(data):
        tag, size = number(), number()
        if tag & 7 == 2:
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


def tensor(name: str = "w", kind: int = 1, *parts: bytes, dims: tuple[int, ...] = (2,)) -> bytes:
    return b"".join(whole(1, dim) for dim in dims) + whole(2, kind) + delimited(
        8, name.encode()
    ) + b"".join(parts)  # fmt: skip


def model(*initializers: bytes, nodes: bytes = b"") -> bytes:
    return delimited(7, nodes + b"".join(delimited(5, each) for each in initializers))


def raw(values: Any, dtype: str = "<f4") -> bytes:
    return delimited(9, np.array(values).astype(dtype).tobytes())


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
    own_bundle: Path, reseal: Reseal, bad: bytes, message: str
) -> None:
    path = own_bundle / "model.onnx"
    good = fields_of(path.read_bytes())
    path.write_bytes(delimited(7, good[7] + delimited(5, bad)) + delimited(14, good[14]))
    reseal(own_bundle)
    with pytest.raises(BundleError, match=rf"model\.onnx.*{message}"):
        open_bundle(own_bundle)


# --- zip archives ----------------------------------------------------------------------------


def npz(compression: int = zipfile.ZIP_STORED, **arrays: Any) -> bytes:
    """An archive as numpy makes it, of one good case and the digest, with some arrays changed."""
    good = {
        "weights_sha256": np.zeros(32, np.uint8),
        "000.input_ids": np.ones((2, 3), np.int64),
        "000.float64": np.ones(2),
        "000.float32": np.ones(2, np.float32),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in {**good, **arrays}.items():
            if array is not None:
                archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy(array))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def appended(data: bytes, name: str, content: bytes, **entry: Any) -> bytes:
    """With one more member, whose entry may say other things than are true."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, content)
        for key, value in entry.items():
            setattr(archive.infolist()[-1], key, value)
    return buffer.getvalue()


def odd_zips(good: bytes) -> dict[str, bytes]:
    end = len(good) - 22
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = appended(good, zipfile.ZipFile(io.BytesIO(good)).namelist()[0], b"other")
    return {
        "nothing": b"",
        "no zip": b"no zip",
        "only an end": good[end:],
        "something before": b"MZ" + good,
        "something after": good + b"\0",
        "a comment": good[:-2] + b"\1\0!",
        "a second archive": good + good,
        "a gap": good[:end] + b"\0" + good[end:],
        "another disk": good[: end + 4] + b"\1" + good[end + 5 :],
        "cut": good[: end - 10] + good[end:],
        "a member twice": twice,
        "encrypted": appended(good, "extra", b"", flag_bits=1),
        "another method": appended(good, "extra", b"", compress_type=zipfile.ZIP_LZMA),
        "an unknown method": appended(good, "extra", b"", compress_type=97),
        "too much": appended(good, "extra", b"", file_size=2**31),
        "far too much": appended(good, "extra", b"", file_size=2**62),
    }


ODD_ZIPS = list(odd_zips(npz()))


@pytest.mark.parametrize("odd", ODD_ZIPS)
def test_golden_vectors_come_in_a_plain_zip(
    own_bundle: Path, reseal: Reseal, odd: str, notebook_bundle: Path
) -> None:
    data = odd_zips((notebook_bundle / "golden.npz").read_bytes())[odd]
    for read in (golden_from_bytes, golden_weights):
        with pytest.raises(BundleError, match=r"^golden\.npz") as caught:
            read(data)
        assert "\n" not in str(caught.value)
    (own_bundle / "golden.npz").write_bytes(data)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("odd", ODD_ZIPS)
def test_torchscript_comes_in_a_plain_zip(own_bundle: Path, reseal: Reseal, odd: str) -> None:
    path = own_bundle / "model.pt"
    path.write_bytes(odd_zips(path.read_bytes())[odd])
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"model\.pt"):
        open_bundle(own_bundle)


def test_torchscript_has_one_folder(own_bundle: Path, reseal: Reseal) -> None:
    """torch takes that of the first member; a second one might be read instead."""
    path = own_bundle / "model.pt"
    config = zipfile.ZipFile(path).read("archive/extra/pe_deploy.json")
    path.write_bytes(appended(path.read_bytes(), "other/extra/pe_deploy.json", config))
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"model\.pt holds 2 folders"):
        open_bundle(own_bundle)


def test_torchscript_with_a_strange_folder_is_refused_in_one_line(
    own_bundle: Path, reseal: Reseal
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a\nb\x1b[31m/code", b"")
    (own_bundle / "model.pt").write_bytes(buffer.getvalue())
    reseal(own_bundle)
    with pytest.raises(BundleError) as caught:
        open_bundle(own_bundle)
    assert str(caught.value).endswith(r"it lacks a\nb\x1b[31m/extra/pe_deploy.json")


def test_an_archive_of_too_many_members_is_not_listed() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}", b"")
    with pytest.raises(BundleError, match="up to 10000 members"):
        golden_from_bytes(buffer.getvalue())
    # The end may say that there are fewer; a reader would go on all the same.
    data = bytearray(buffer.getvalue())
    data[-14:-10] = struct.pack("<2H", 7, 7)
    with pytest.raises(BundleError, match="up to 10000 members"):
        golden_from_bytes(bytes(data))


# --- golden.npz ------------------------------------------------------------------------------


def test_golden_vectors_give_the_same_bytes_twice(any_bundle: Path) -> None:
    published = (any_bundle / "golden.npz").read_bytes()
    # Not those of another Python, whose zipfile states another version.
    data = golden_to_bytes(golden_from_bytes(published), golden_weights(published))
    assert golden_to_bytes(golden_from_bytes(data), golden_weights(data)) == data
    assert golden_weights(data) == open_bundle(any_bundle).manifest.weights_sha256
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:  # for any reader of numpy's
        assert archive["weights_sha256"].tobytes().hex() == golden_weights(data)


def test_golden_vectors_cover_batches_lengths_and_both_ends(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    signature = bundle.manifest.signature
    inputs = [case.input_ids for case in bundle.golden()]
    assert {len(ids) for ids in inputs} >= {1, 2, 7}
    assert {ids.shape[1] for ids in inputs} >= {1, 3, signature.max_length}
    seen = np.concatenate([ids.ravel() for ids in inputs])
    assert {0, signature.vocab_size - 1} <= set(seen.tolist())


def test_arrays_read_are_those_written() -> None:
    (case,) = golden_from_bytes(
        npz(
            zipfile.ZIP_DEFLATED,
            **{
                "000.input_ids": np.arange(6).reshape(2, 3),
                "000.labels": np.array(["é", "b]c"]),
                "000.targets": np.array([1, 0]),
            },
        )
    )
    assert case.input_ids.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert case.labels is not None
    assert case.labels.tolist() == ["é", "b]c"]
    assert case.input_ids.flags.writeable


def lying(header: str, body: bytes = bytes(48)) -> bytes:
    padded = header.encode() + b" " * (118 - len(header) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def stated(shape: str, descr: str = "'<i8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


DAMAGED: dict[str, Mapping[str, Any]] = {
    "objects": {"000.input_ids": np.array([[None]])},
    "an object beside": {"evil": np.array(None)},
    "no digest": {"weights_sha256": None},
    "a digest of text": {"weights_sha256": np.array("0" * 64)},
    "a short digest": {"weights_sha256": np.zeros(31, np.uint8)},
    "no float32": {"000.float32": None},
    "no case": {"000.input_ids": None},
    "another case number": {"002.input_ids": np.ones((1, 1), np.int64)},
    "something beside": {"notes": np.ones(1)},
    "other rows": {"000.float64": np.ones(3)},
    "complex": {"000.float64": np.ones(2, complex)},
    "big-endian": {"000.float64": np.ones(2, ">f8")},
    "records": {"000.input_ids": np.zeros((2, 3), [("a", "<i8")])},
    "times": {"000.input_ids": np.zeros((2, 3), "<M8[s]")},
    "bytes": {"000.labels": np.array([b"a", b"b"])},
    "in Fortran's order": {"000.input_ids": np.asfortranarray(np.ones((2, 3), np.int64))},
    "no array": {"000.input_ids": b"no array"},
    "an empty member": {"000.input_ids": b""},
    "the magic alone": {"000.input_ids": b"\x93NUMPY\x01\x00"},
    "a huge shape": {"000.input_ids": lying(stated("(1000000000000, 3)"))},
    "an endless shape": {"000.input_ids": lying(stated("(" + "9" * 60 + ", 3)"))},
    "a shape of nothing": {"000.input_ids": lying(stated("(0, 99999999999999999999)"), b"")},
    "a negative shape": {"000.input_ids": lying(stated("(-2, -3)"))},
    "a small shape": {"000.input_ids": lying(stated("(1, 3)"))},
    "too many axes": {"000.input_ids": lying(stated("(" + "1, " * 60 + "6)"))},
    "code": {"000.input_ids": lying(stated("(2, 3)", "__import__('os').getcwd()"))},
    "wide text": {"000.labels": lying(stated("(2,)", "'<U9999999'"))},
    "text of no width": {"000.labels": lying(stated("(2,)", "'<U0'"), b"")},
    "no text": {"000.labels": lying(stated("(2,)", "'<U6'"), b"\xff" * 48)},
    "not finite": {"000.float64": np.array([1, np.nan])},
    "infinite": {"000.float32": np.array([1, np.inf], np.float32)},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_golden_vectors_are_refused(name: str) -> None:
    golden_from_bytes(npz())
    with pytest.raises(BundleError, match=r"^golden\.npz") as caught:
        golden_from_bytes(npz(**DAMAGED[name]))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Stored array in format 2.0")
def test_a_header_of_another_version_is_refused() -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ones((2, 3), np.int64), version=(2, 0))
    with pytest.raises(BundleError, match=r"'000\.input_ids\.npy' is malformed"):
        golden_from_bytes(npz(zipfile.ZIP_STORED, **{"000.input_ids": buffer.getvalue()}))


def test_a_zip_bomb_is_refused_before_it_goes_off() -> None:
    """By what it states; and where it states less, it gives no more than that."""
    header = lying(stated("(2, 3)"), b"")
    bomb: dict[str, Any] = {"000.input_ids": header + bytes(2**24)}
    for size in (2**31, len(header) + 48):
        data = bytearray(npz(zipfile.ZIP_DEFLATED, **bomb))
        true = struct.pack("<L", len(header) + 2**24)
        assert data.count(true) == 2
        data = data.replace(true, struct.pack("<L", size))
        with pytest.raises(BundleError, match=r"^golden\.npz"):
            golden_from_bytes(bytes(data))


def test_a_damaged_stream_is_refused() -> None:
    good = npz(zipfile.ZIP_DEFLATED)
    start = good.index(b"000.input_ids.npy") + 17
    for at in range(start, start + 60):
        data = bytearray(good)
        data[at] ^= 255
        with pytest.raises(BundleError, match=r"^golden\.npz"):
            golden_from_bytes(bytes(data))


def test_golden_logits_have_to_be_of_one_shape(notebook_bundle: Path) -> None:
    case = open_bundle(notebook_bundle).golden()[0]
    for wrong in (
        dataclasses.replace(case, float64=case.float64 * np.inf),
        dataclasses.replace(case, float32=np.stack([case.float32] * 3, axis=1)),
        dataclasses.replace(case, input_ids=case.input_ids[:, 0]),
        dataclasses.replace(case, labels=np.array([[0]])),
    ):
        with pytest.raises(BundleError, match=r"golden\.npz"):
            golden_from_bytes(golden_to_bytes([wrong], SHA))


def test_golden_vectors_are_read_when_asked_for(own_bundle: Path, reseal: Reseal) -> None:
    """Opening looks at the archive and the digest alone: an app seldom needs the rest."""
    digest = bytes.fromhex(open_bundle(own_bundle).manifest.weights_sha256)
    made = npz(**DAMAGED["objects"], weights_sha256=np.frombuffer(digest, np.uint8))
    (own_bundle / "golden.npz").write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"'000\.input_ids\.npy' is malformed; allowed: an array"):
        open_bundle(own_bundle).golden()
