"""Rows of an .npz file: `input_ids` is an integer array `[rows, length]`.

An .npz file is a zip of .npy files. They are read here as streams, which `np.load` cannot do, and
an array of Python objects is refused by its header: nothing is ever unpickled.
"""

from __future__ import annotations

import lzma
import math
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.damage import reading
from pe_deploy.data.reader import LABEL, Chunk, RowReader, WriteChunk
from pe_deploy.errors import DataError

# All that zipfile, its decompressors and numpy's header parser raise for a damaged file.
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
)
_DAMAGE = (*_DAMAGED_ZIP, OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError)
_MOST_EMPTY_ROWS = 1_000_000
"""Rows without ids take no bytes, so that a tiny file could state more than anyone could read."""
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Array(NamedTuple):
    """An array whose header was read; its data follow in `stream`."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


class NpzReader(RowReader):
    """Reads `input_ids` in chunks; in Fortran order, where rows are scattered, at once.

    Other members than `input_ids` and `label` are never parsed: they are copied as bytes.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, chunk_rows: int) -> None:
        names = archive.namelist()
        columns = tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))
        super().__init__(path, columns, chunk_rows)
        self.require_column(INPUT_IDS)
        self._archive = archive
        with self._open(INPUT_IDS) as array:
            if len(array.shape) != 2 or array.dtype.kind not in "iu":
                raise DataError(
                    f"{path}: column {INPUT_IDS} is {array.dtype} of shape {array.shape}; "
                    "allowed: integers of shape [rows, length]"
                )
            if array.shape[1] == 0 and array.shape[0] > _MOST_EMPTY_ROWS:
                raise DataError(
                    f"{path}: column {INPUT_IDS} states {array.shape[0]} rows without ids; "
                    f"allowed: {_MOST_EMPTY_ROWS} or fewer"
                )

    def __iter__(self) -> Iterator[Chunk]:
        with self._open(INPUT_IDS) as array:
            total, length = array.shape
            for first_row, block in self._blocks(array):
                values = self._int64(block, first_row)
                offsets = np.arange(len(block) + 1, dtype=np.int64) * length
                done = (first_row - 1 + len(block)) / total
                yield Chunk(first_row, values, offsets, None, done)

    def _blocks(self, array: _Array) -> Iterator[tuple[int, NDArray[Any]]]:
        total, length = array.shape
        whole = self._read(array, array.shape) if array.fortran_order else None
        for start in range(0, total, self.chunk_rows):
            rows = min(self.chunk_rows, total - start)
            if whole is None:
                yield start + 1, self._read(array, (rows, length))
            else:
                yield start + 1, whole[start : start + rows]

    def _int64(self, block: NDArray[Any], first_row: int) -> NDArray[np.int64]:
        """The ids of all rows, one row after the other."""
        if block.dtype.kind == "u" and block.dtype.itemsize == 8:
            too_large = np.argwhere(block > np.iinfo(np.int64).max)
            if len(too_large):
                row, column = too_large[0]
                raise self.id_too_large(first_row + int(row), str(block[row, column]))
        return block.astype(np.int64).ravel()

    def _labels(self, chunk: Chunk) -> list[Any]:
        start = chunk.first_row - 1
        return self._all_labels[start : start + len(chunk)]

    @cached_property
    def _all_labels(self) -> list[Any]:
        with self._open(INPUT_IDS) as array:
            rows = array.shape[0]
        with self._open(LABEL) as array:
            if array.shape != (rows,):
                raise DataError(
                    f"{self.path}: column {LABEL} is of shape {array.shape}; allowed: ({rows},), "
                    f"one for each row of {INPUT_IDS}"
                )
            with self._reading():
                labels: list[Any] = self._read(array, array.shape).tolist()
        return labels

    @contextmanager
    def _open(self, column: str) -> Iterator[_Array]:
        with ExitStack() as stack:
            with self._reading():
                info = self._archive.getinfo(f"{column}.npy")
                stream = stack.enter_context(self._archive.open(info))
                version = npy.read_magic(stream)
                if version not in _HEADER_READERS:
                    raise ValueError(f"column {column} has the npy version {version}")
                array = _Array(stream, *_HEADER_READERS[version](stream))
            self._check_size(column, array, info.file_size - stream.tell())
            yield array

    def _check_size(self, column: str, array: _Array, held: int) -> None:
        if array.dtype.hasobject:
            raise DataError(
                f"{self.path}: column {column} holds Python objects; "
                "allowed: integers, and for labels text as well"
            )
        declared = math.prod(array.shape) * array.dtype.itemsize
        if declared != held or min(array.shape, default=0) < 0:
            raise DataError(
                f"{self.path}: column {column} declares shape {array.shape} of {array.dtype}, "
                f"which is not the {held} bytes it holds"
            )

    def _read(self, array: _Array, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next values of the stream, in an array of the given shape."""
        with self._reading():
            data = array.stream.read(math.prod(shape) * array.dtype.itemsize)
            values = np.frombuffer(data, array.dtype)
            return values.reshape(shape, order="F" if array.fortran_order else "C")

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, "npz", _DAMAGE)

    @contextmanager
    def _writer(
        self, path: Path, dtypes: dict[str, np.dtype[Any]], names: list[str]
    ) -> Iterator[WriteChunk]:
        with ExitStack() as stack:
            # A zip is written one member at a time, so that added columns wait on the disk.
            spools = {
                name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                for name in dtypes
            }

            def write(chunk: Chunk, columns: Mapping[str, NDArray[Any]]) -> None:
                for name, dtype in dtypes.items():
                    spools[name].write(np.asarray(columns[name], dtype).tobytes())

            yield write
            with zipfile.ZipFile(path, "w") as archive:
                self._copy_members(archive)
                for free_name, (name, dtype) in zip(names, dtypes.items(), strict=True):
                    self._add_array(archive, free_name, dtype, spools[name])

    def _copy_members(self, archive: zipfile.ZipFile) -> None:
        for info in self._archive.infolist():
            with self._reading():  # an OSError in here is not one of writing
                source = self._archive.open(info)
            with (
                reading(self.path, "npz", _DAMAGED_ZIP),
                source,
                archive.open(_like(info, info.filename), "w", force_zip64=True) as target,
            ):
                shutil.copyfileobj(source, target)

    def _add_array(
        self, archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], spool: IO[bytes]
    ) -> None:
        header = {
            "descr": npy.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (spool.tell() // dtype.itemsize,),
        }
        spool.seek(0)
        info = _like(self._archive.getinfo(f"{INPUT_IDS}.npy"), f"{name}.npy")
        with archive.open(info, "w", force_zip64=True) as target:
            npy.write_array_header_1_0(target, header)
            shutil.copyfileobj(spool, target)


def _like(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    """A new member with the date and the compression of another."""
    new = zipfile.ZipInfo(name, info.date_time)
    new.compress_type = info.compress_type
    return new


@contextmanager
def open_npz(path: Path, chunk_rows: int) -> Iterator[NpzReader]:
    """Open an .npz file.

    Raises:
        DataError: it is damaged, or `input_ids` is missing or not integers `[rows, length]`.
    """
    with reading(path, "npz", _DAMAGE):
        archive = zipfile.ZipFile(path)
    with archive:
        yield NpzReader(path, archive, chunk_rows)
