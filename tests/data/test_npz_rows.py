from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError
from tests.data.rows import all_ids, error_of, predict


def _copy(source: Path, target: Path) -> None:
    with open_rows(source) as reader, reader.writer(target, {"label": np.int64}) as write:
        for chunk in reader:
            write(chunk, {"label": np.zeros(len(chunk))})


def _layouts(ids: Any) -> dict[str, Any]:
    return {
        "c": ids,
        "fortran": np.asfortranarray(ids),
        "big_endian": ids.astype(">i4"),
        "unsigned": ids.astype(np.uint64),
        "tiny": ids.astype(np.int8),
    }


@pytest.mark.parametrize("layout", ["c", "fortran", "big_endian", "unsigned", "tiny"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_layout_reads_the_same(tmp_path: Path, layout: str, save: Any) -> None:
    ids = np.arange(21).reshape(7, 3)
    source = tmp_path / "in.npz"
    save(source, input_ids=_layouts(ids)[layout])
    for chunk_rows in (1, 3, 7, 8):
        assert all_ids(source, chunk_rows) == ids.tolist()


def test_members_are_copied_and_columns_added(tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    arrays: dict[str, Any] = {
        "weights": np.random.default_rng(5).random((5, 2, 2)),
        "input_ids": np.asfortranarray(np.arange(15).reshape(5, 3).astype(">u2")),
        "label": np.array(["a", "b", "c", "a", "b"]),
        "scalar": np.array(3.5),
    }
    np.savez_compressed(source, **arrays)
    target = predict(source, tmp_path / "out.npz")
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target) as after:
        for name in before.namelist():
            assert after.read(name) == before.read(name)
        assert after.infolist()[-1].compress_type == zipfile.ZIP_DEFLATED
    with np.load(target) as written:
        assert written.files == [*arrays, "predicted_label", "probability"]
        assert written["predicted_label"].tolist() == ["odd"] * 5
        assert written["probability"].dtype == np.float32
        assert written["probability"].tolist() == np.full(5, 0.9, np.float32).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npz", "out.npz"]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_no_rows_and_empty_rows(
    tmp_path: Path,
    shape: tuple[int, int],
) -> None:
    source = tmp_path / "in.npz"
    np.savez(source, input_ids=np.zeros(shape, np.int64))
    assert all_ids(source) == [[]] * (shape[0])
    with np.load(predict(source, tmp_path / "out.npz")) as written:
        assert written["probability"].shape == (shape[0],)


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        (
            np.arange(3),
            "column input_ids is int64 of shape (3,); allowed: integers of shape [rows, length]",
        ),
        (
            np.ones((2, 2), np.float32),
            "column input_ids is float32 of shape (2, 2); "
            "allowed: integers of shape [rows, length]",
        ),
        (
            np.ones((2, 2), np.bool_),
            "column input_ids is bool of shape (2, 2); allowed: integers of shape [rows, length]",
        ),
        (
            np.ones((2, 2), "m8[s]"),
            "column input_ids is timedelta64[s] of shape (2, 2); "
            "allowed: integers of shape [rows, length]",
        ),
        (
            np.array([[1], [2], [2**63]], np.uint64),
            f"row 3, column input_ids: {2**63} is outside int64; "
            f"allowed: {-(2**63)} to {2**63 - 1}",
        ),
        (
            np.array([[1], ["x"]], object),
            "column input_ids holds Python objects; allowed: integers, and for labels text as well",
        ),
    ],
)
def test_a_malformed_array_is_one_exact_line(tmp_path: Path, ids: Any, error: str) -> None:
    source = tmp_path / "in.npz"
    np.savez(source, input_ids=ids)
    assert error_of(source) == error


def test_a_missing_column_is_named_among_those_there(tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    np.savez(source, ids=np.ones((1, 1)), label=np.ones(1))
    with pytest.raises(DataError, match=r"no column 'input_ids'; its columns: ids, label; state"):
        open_rows(source).__enter__()


@pytest.mark.parametrize("shape", ["(4, 99)", "(10000000000000, 3)", "(-4, -3)", "('a',)", "(("])
def test_a_header_that_lies_is_a_data_error(tmp_path: Path, shape: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12).reshape(4, 3))
    whole = buffer.getvalue()
    data = whole[128:]
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    source = tmp_path / "in.npz"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("input_ids.npy", whole[:8] + b"\x76\x00" + header.encode() + data)
    with pytest.raises(DataError, match=r"in\.npz: "), open_rows(source) as reader:
        list(reader)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_anywhere_is_a_data_error(tmp_path: Path, save: Any) -> None:
    source = tmp_path / "in.npz"
    save(source, input_ids=np.arange(60).reshape(20, 3), other=np.arange(20))
    whole = source.read_bytes()
    for position in range(0, len(whole), 5):
        before, after = whole[:position], whole[position + 3 :]
        for damaged in (before, before + b"\xff\x03\xff" + after):
            source.write_bytes(damaged)
            # Not all damage can be seen; what is raised is never of another kind.
            with suppress(DataError):
                _copy(source, tmp_path / "out.npz")


def test_rows_without_ids_are_not_counted_for_ever(tmp_path: Path) -> None:
    """They take no bytes, so that a file of 200 could state 10¹² of them."""
    path = tmp_path / "rows.npz"
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 0), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        size = len(header).to_bytes(2, "little")
        archive.writestr("input_ids.npy", b"\x93NUMPY\x01\x00" + size + header)
    with (
        pytest.raises(DataError, match="states 1000000000000 rows without ids; allowed: 1000000"),
        open_rows(path),
    ):
        pass
