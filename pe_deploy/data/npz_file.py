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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column, ListOf, Lists
from pe_deploy.data.reader import LABEL, Append, RowReader, Types, reading
from pe_deploy.errors import DataError

# All that zipfile, its decompressors and numpy's header parser raise for a damaged file.
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError)
_DAMAGE = (*_BAD_ZIP, OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError)
_reading = partial(reading, kind="npz", errors=_DAMAGE)
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

    def __init__(self, path: Path, chunk_rows: int, stack: ExitStack) -> None:
        with _reading(path):
            self._archive = stack.enter_context(zipfile.ZipFile(path))
        names = self._archive.namelist()
        columns = tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))
        super().__init__(path, chunk_rows, columns)
        self.require_column(INPUT_IDS)
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
            self._shape = array.shape

    def __iter__(self) -> Iterator[Chunk]:
        with self._open(INPUT_IDS) as array:
            total, length = self._shape
            whole = self._read(array, array.shape) if array.fortran_order else None
            for start in range(0, total, self.chunk_rows):
                rows = min(self.chunk_rows, total - start)
                read = self._read(array, (rows, length)) if whole is None else whole[start:]
                ids = read[:rows]
                offsets = np.arange(rows + 1, dtype=np.int64) * length
                values = self.int64(ids.ravel(), offsets, start + 1)
                yield Chunk(start + 1, values, offsets, None, (start + rows) / total)

    def _labels(self, chunk: Chunk) -> list[Any]:
        start = chunk.first_row - 1
        return self._all_labels[start : start + len(chunk)]

    @cached_property
    def _all_labels(self) -> list[Any]:
        allowed = self._shape[:1]
        with self._open(LABEL) as array, _reading(self.path):
            if array.shape != allowed:
                raise DataError(
                    f"{self.path}: column {LABEL} is of shape {array.shape}; allowed: {allowed}, "
                    f"one for each row of {INPUT_IDS}"
                )
            return list(self._read(array, array.shape).tolist())

    @contextmanager
    def _open(self, column: str) -> Iterator[_Array]:
        with ExitStack() as stack:
            with _reading(self.path):
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
        with _reading(self.path):
            data = array.stream.read(math.prod(shape) * array.dtype.itemsize)
            values = np.frombuffer(data, array.dtype)
            return values.reshape(shape, order="F" if array.fortran_order else "C")

    @contextmanager
    def _writer(self, path: Path, names: list[str], types: Types) -> Iterator[Append]:
        members: dict[str, np.dtype[Any]] = {}
        for name, kind in zip(names, types, strict=True):
            members[name] = kind.dtype if isinstance(kind, ListOf) else kind
            if isinstance(kind, ListOf):
                members[self._free_name(f"{name}_lengths")] = np.dtype(np.int64)
        with ExitStack() as stack:
            # A zip is written one member at a time, so that added columns wait on the disk.
            folder = path.parent
            spools = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in members]

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                arrays = chain.from_iterable(map(_arrays_of, columns))
                for spool, array in zip(spools, arrays, strict=True):
                    spool.write(array.tobytes())

            yield append
            with zipfile.ZipFile(path, "w") as archive:
                self._copy_members(archive)
                for (name, dtype), spool in zip(members.items(), spools, strict=True):
                    self._add_array(archive, name, dtype, spool)

    def _copy_members(self, archive: zipfile.ZipFile) -> None:
        for info in self._archive.infolist():
            with _reading(self.path):  # an OSError in here is not one of writing
                source = self._archive.open(info)
            with (
                _reading(self.path, errors=_BAD_ZIP),
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


def _arrays_of(column: Column) -> tuple[NDArray[Any], ...]:
    """The values of a column; of lists, their members and their lengths."""
    if isinstance(column, Lists):
        return (column.members, np.diff(column.offsets))
    return (column,)


def _like(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    """A new member with the date and the compression of another."""
    new = zipfile.ZipInfo(name, info.date_time)
    new.compress_type = info.compress_type
    return new
