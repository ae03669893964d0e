"""Golden vectors and TorchScript come in archives with nothing odd about them."""

from __future__ import annotations

import dataclasses
import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import BundleError, Signature, open_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes, golden_to_bytes

Reseal = Callable[..., bytes]
SHA = "a" * 64
BINARY = Signature(vocab_size=5, max_length=3)


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
@pytest.mark.parametrize("name", ["golden.npz", "model.pt"])
def test_an_odd_zip_is_refused(own_bundle: Path, reseal: Reseal, name: str, odd: str) -> None:
    data = odd_zips((own_bundle / name).read_bytes())[odd]
    (own_bundle / name).write_bytes(data)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")) as caught:
        open_bundle(own_bundle)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match=r"^golden\.npz"):
        golden_from_bytes(data, BINARY)


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
        golden_from_bytes(buffer.getvalue(), BINARY)
    # The end may say that there are fewer; a reader would go on all the same.
    data = bytearray(buffer.getvalue())
    data[-14:-10] = struct.pack("<2H", 7, 7)
    with pytest.raises(BundleError, match="up to 10000 members"):
        golden_from_bytes(bytes(data), BINARY)


def test_golden_vectors_give_the_same_bytes_twice(any_bundle: Path) -> None:
    published = (any_bundle / "golden.npz").read_bytes()
    # Not those of another Python, whose zipfile states another version.
    manifest = open_bundle(any_bundle).manifest
    weights, cases = golden_from_bytes(published, manifest.signature)
    data = golden_to_bytes(cases, weights)
    again, cases = golden_from_bytes(data, manifest.signature)
    assert golden_to_bytes(cases, again) == data
    assert again == weights == manifest.weights_sha256
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:  # for any reader of numpy's
        assert archive["weights_sha256"].tobytes().hex() == weights


def test_golden_vectors_cover_batches_lengths_and_both_ends(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    signature = bundle.manifest.signature
    inputs = [case.input_ids for case in bundle.golden()]
    assert {len(ids) for ids in inputs} >= {1, 2, 7}
    assert {ids.shape[1] for ids in inputs} >= {1, 3, signature.max_length}
    seen = np.concatenate([ids.ravel() for ids in inputs])
    assert {0, signature.vocab_size - 1} <= set(seen.tolist())


def test_arrays_read_are_those_written() -> None:
    _, (case,) = golden_from_bytes(
        npz(
            zipfile.ZIP_DEFLATED,
            **{
                "000.input_ids": np.arange(6).reshape(2, 3),
                "000.labels": np.array(["é", "b]c"]),
                "000.targets": np.array([1, 0]),
            },
        ),
        BINARY,
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
    golden_from_bytes(npz(), BINARY)
    with pytest.raises(BundleError, match=r"^golden\.npz") as caught:
        golden_from_bytes(npz(**DAMAGED[name]), BINARY)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Stored array in format 2.0")
def test_a_header_of_another_version_is_refused() -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ones((2, 3), np.int64), version=(2, 0))
    with pytest.raises(BundleError, match=r"'000\.input_ids\.npy' is malformed"):
        golden_from_bytes(npz(zipfile.ZIP_STORED, **{"000.input_ids": buffer.getvalue()}), BINARY)


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
            golden_from_bytes(bytes(data), BINARY)


def test_a_damaged_stream_is_refused() -> None:
    good = npz(zipfile.ZIP_DEFLATED)
    start = good.index(b"000.input_ids.npy") + 17
    for at in range(start, start + 60):
        data = bytearray(good)
        data[at] ^= 255
        with pytest.raises(BundleError, match=r"^golden\.npz"):
            golden_from_bytes(bytes(data), BINARY)


def test_golden_logits_have_to_be_of_one_shape(notebook_bundle: Path) -> None:
    case = open_bundle(notebook_bundle).golden()[0]
    for wrong in (
        dataclasses.replace(case, float64=case.float64 * np.inf),
        dataclasses.replace(case, float32=np.stack([case.float32] * 3, axis=1)),
        dataclasses.replace(case, input_ids=case.input_ids[:, 0]),
        dataclasses.replace(case, labels=np.array([[0]])),
    ):
        with pytest.raises(BundleError, match=r"golden\.npz"):
            golden_from_bytes(golden_to_bytes([wrong], SHA), BINARY)


IDS = np.array([[1, 2, 0], [3, 0, 0]])
TASKS: dict[str, tuple[Signature, tuple[int, ...], Any, Any]] = {
    "classes": (Signature(5, 3, 4), (2, 4), np.array([3, 1]), np.array([3, 0])),
    "multilabel": (
        Signature(5, 3, 2, task="multilabel"),
        (2, 2),
        np.array([["+a", "-b"], ["-a", "-b"]]),
        np.array([[1, 0], [0, 1]]),
    ),
    "one label": (
        Signature(5, 3, task="multilabel"),
        (2, 1),
        np.array([["+a"], ["-a"]]),
        np.array([[1], [1]]),
    ),
    "a number": (Signature(5, 3, task="regression"), (2,), None, np.array([0.5, -3.0])),
    "numbers": (Signature(5, 3, 2, task="regression"), (2, 2), None, np.ones((2, 2))),
    "tokens": (
        Signature(5, 3, 4, pad_id=0, task="tokens"),
        (2, 3, 4),
        np.array([["a", "b", "a"], ["c", "a", "a"]]),
        np.array([[0, 3, -1], [2, -1, -1]]),
    ),
    "binary tokens": (
        Signature(5, 3, pad_id=0, task="tokens"),
        (2, 3),
        np.array([[1, 0, 0], [1, 0, 0]]),
        None,
    ),
}


def case_of(task: str) -> GoldenCase:
    _, shape, labels, targets = TASKS[task]
    return GoldenCase(IDS, np.ones(shape), np.ones(shape, np.float32), labels, targets)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_shapes(task: str) -> None:
    signature, case = TASKS[task][0], case_of(task)
    _, (read,) = golden_from_bytes(golden_to_bytes([case], SHA), signature)
    for name in ("input_ids", "float64", "float32", "labels", "targets"):
        written = getattr(case, name)
        np.testing.assert_array_equal(getattr(read, name), written)


@pytest.mark.parametrize("reader", TASKS)
@pytest.mark.parametrize("writer", TASKS)
def test_the_golden_vectors_of_another_task_are_refused(writer: str, reader: str) -> None:
    if reader != writer:
        data = golden_to_bytes([case_of(writer)], SHA)
        with pytest.raises(BundleError, match=r"^golden\.npz: \w+ of case 0 is .*; allowed: "):
            golden_from_bytes(data, TASKS[reader][0])


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        ("classes", np.array([4, 0]), "hold 4; allowed: 0 to 3"),
        ("classes", np.array([-1, 0]), "hold -1; allowed: 0 to 3"),
        ("multilabel", np.array([[1, 0], [0, 2]]), "hold 2; allowed: 0 to 1"),
        ("tokens", np.array([[0, 4, -1], [2, -1, -1]]), "hold 4; allowed: -1 to 3"),
        ("tokens", np.array([[0, 3, -2], [2, -1, -1]]), "hold -2; allowed: -1 to 3"),
        ("a number", np.array([np.nan, 1]), "hold nan; allowed: finite numbers"),
        ("a number", np.array([1, 1]), r"is int64 \[2\]; allowed: float64 \[2\]"),
        ("tokens", np.array([1, 1]), r"is int64 \[2\]; allowed: int64 \[2, 3\]"),
    ],
)
def test_targets_that_no_answer_could_be_are_refused(task: str, targets: Any, message: str) -> None:
    made = dataclasses.replace(case_of(task), targets=targets)
    with pytest.raises(BundleError, match=f"targets of case 0 {message}"):
        golden_from_bytes(golden_to_bytes([made], SHA), TASKS[task][0])


def test_numbers_have_no_labels() -> None:
    made = dataclasses.replace(case_of("a number"), labels=np.array([1, 0]))
    with pytest.raises(BundleError, match=r"labels of case 0 is int64 \[2\]; allowed: none"):
        golden_from_bytes(golden_to_bytes([made], SHA), TASKS["a number"][0])


def test_opening_reads_the_golden_vectors(own_bundle: Path, reseal: Reseal) -> None:
    """By who opens the whole bundle, not only when somebody asks for them."""
    digest = bytes.fromhex(open_bundle(own_bundle).manifest.weights_sha256)
    made = npz(**DAMAGED["objects"], weights_sha256=np.frombuffer(digest, np.uint8))
    (own_bundle / "golden.npz").write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"'000\.input_ids\.npy' is malformed; allowed: an array"):
        open_bundle(own_bundle)
