"""Rows of an .npz or .npy file: ids are an integer array `[rows, length]`, texts one of `[rows]`.

An .npz file is a zip of .npy files. They are read here as streams, which `np.load` cannot do, and
an array of Python objects is refused by its header: nothing is ever unpickled.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column, ListOf, Lists, Sparse
from pe_deploy.data.plain_file import Columnless
from pe_deploy.data.reader import Append, How, RowReader, Types, reading
from pe_deploy.errors import DataError

# All that zipfile, its decompressors and numpy's header parser raise for a damaged file.
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError)
_DAMAGE = (*_BAD_ZIP, OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError)
_MOST_EMPTY_ROWS = 1_000_000
"""Rows without ids take no bytes, so that a tiny file could state more than anyone could read."""
LARGEST_ROW = 2**27
"""The most bytes of a row, and of the rows of a chunk together."""
LARGEST_WHOLE = 2**30
"""The most bytes of what cannot be read in chunks: labels, and ids in Fortran order."""
_LONGEST_HEADER = 10_000
_LAST_CHARACTER = 0x10FFFF
_LENGTHS = {(1, 0): struct.Struct("<H"), (2, 0): struct.Struct("<I")}
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Array(NamedTuple):
    """An array whose header was read; its data follow in `stream`."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


class _ArrayReader(RowReader):
    """Reads ids or texts in chunks; in Fortran order, where rows are scattered, at once."""

    _kind = "npz"

    def _found(self, columns: Sequence[str]) -> None:
        super()._found(columns)
        with self._open(self.column) as array:
            form = (1, "U", "text of shape [rows]")
            if not self.of_texts:
                form = (2, "iu", "integers of shape [rows, length]")
            if len(array.shape) != form[0] or array.dtype.kind not in form[1]:
                raise DataError(
                    f"{self.path}: column {self.column} is {array.dtype} of shape {array.shape}; "
                    f"allowed: {form[2]}"
                )
            self._rows = array.shape[0]
            self._row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
            if self._row_bytes == 0 and self._rows > _MOST_EMPTY_ROWS:
                raise DataError(
                    f"{self.path}: column {self.column} states {self._rows} rows without ids; "
                    f"allowed: {_MOST_EMPTY_ROWS} or fewer"
                )
            if self._row_bytes > LARGEST_ROW:
                raise DataError(
                    f"{self.path}: column {self.column} has rows of {self._row_bytes:,} bytes; "
                    f"allowed: {LARGEST_ROW:,} or fewer"
                )

    def __iter__(self) -> Iterator[Chunk]:
        step = max(1, min(self.how.chunk_rows, LARGEST_ROW // max(1, self._row_bytes)))
        with self._open(self.column) as array:
            whole = self._whole(self.column, array) if array.fortran_order else None
            for start in range(0, self._rows, step):
                rows = min(step, self._rows - start)
                shape = (rows, *array.shape[1:])
                read = self._read(array, shape) if whole is None else whole[start:]
                done = (start + rows) / self._rows
                if self.of_texts:
                    yield Chunk.of_texts(start + 1, read[:rows].tolist(), None, done)
                else:
                    offsets = np.arange(rows + 1, dtype=np.int64) * array.shape[1]
                    errors: dict[int, str] = {}
                    ids = self.int64(read[:rows].ravel(), offsets, start + 1, errors)
                    yield Chunk(start + 1, *ids, None, done, None, errors)

    def _labels(self, chunk: Chunk) -> list[Any]:
        start = chunk.first_row - 1
        return self._all_labels[start : start + len(chunk)]

    @cached_property
    def _all_labels(self) -> list[Any]:
        column, allowed = self.how.columns.label, (self._rows,)
        with self._open(column) as array:
            if array.shape != allowed:
                raise DataError(
                    f"{self.path}: column {column} is of shape {array.shape}; "
                    f"allowed: {allowed}, one for each row of {self.column}"
                )
            return list(self._whole(column, array).tolist())

    @abstractmethod
    def _stream(self, column: str, stack: ExitStack) -> tuple[IO[bytes], int]:
        """The .npy file of a column, closed by the stack, and its size."""

    @contextmanager
    def _open(self, column: str) -> Iterator[_Array]:
        with ExitStack() as stack:
            with self._reading():
                stream, size = self._stream(column, stack)
                version = npy.read_magic(stream)
                if version not in _HEADER_READERS:
                    raise ValueError(f"column {column} has the npy version {version}")
                stated = stream.read(_LENGTHS[version].size)
                (length,) = _LENGTHS[version].unpack(stated)
                if length > _LONGEST_HEADER:  # before numpy reads all of it, which may be 4 GiB
                    raise ValueError(f"column {column} has a header of {length} bytes")
                header = io.BytesIO(stated + stream.read(length))
                array = _Array(stream, *_HEADER_READERS[version](header))
            self._check_size(column, array, size - 8 - len(header.getvalue()))
            yield array

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, self._kind, _DAMAGE)

    def _whole(self, column: str, array: _Array) -> NDArray[Any]:
        size = math.prod(array.shape) * array.dtype.itemsize
        if size > LARGEST_WHOLE:
            order = ", in Fortran order," if array.fortran_order else ""
            raise DataError(
                f"{self.path}: column {column}{order} has {size:,} bytes; "
                f"allowed: {LARGEST_WHOLE:,} or fewer"
            )
        return self._read(array, array.shape)

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
            if array.dtype.kind == "U" and array.dtype.itemsize:
                points = values.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
                if (points > _LAST_CHARACTER).any():
                    raise ValueError("what is no text among texts")
            return values.reshape(shape, order="F" if array.fortran_order else "C")


class NpyReader(Columnless, _ArrayReader):
    """Reads one array of ids, which has no columns beside it."""

    _kind = "npy"

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how)
        self._found((INPUT_IDS,))

    def _stream(self, column: str, stack: ExitStack) -> tuple[IO[bytes], int]:
        file = stack.enter_context(self.path.open("rb"))
        return file, os.fstat(file.fileno()).st_size


class NpzReader(_ArrayReader):
    """Reads the arrays of ids or texts, and of labels; others are copied as bytes, never parsed."""

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how)
        with self._reading():
            self._archive = stack.enter_context(zipfile.ZipFile(path))
            if odd := [
                info for info in self._archive.infolist() if info.compress_type not in _METHODS
            ]:
                raise ValueError(f"{odd[0].filename} is not compressed by deflate")
        names = self._archive.namelist()
        self._found([name.removesuffix(".npy") for name in names if name.endswith(".npy")])

    def _stream(self, column: str, stack: ExitStack) -> tuple[IO[bytes], int]:
        info = self._archive.getinfo(f"{column}.npy")
        return stack.enter_context(self._archive.open(info)), info.file_size

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        if self.how.tolerant:
            raise DataError(
                f"{self.path}: an array has a value for every row, and a bad row has none; "
                "allowed with bad rows: any format but .npz"
            )
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
            with self._reading():  # an OSError in here is not one of writing
                source = self._archive.open(info)
            with (
                reading(self.path, self._kind, _BAD_ZIP),
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
        info = _like(self._archive.getinfo(f"{self.column}.npy"), f"{name}.npy")
        with archive.open(info, "w", force_zip64=True) as target:
            npy.write_array_header_1_0(target, header)
            shutil.copyfileobj(spool, target)


def _arrays_of(column: Column) -> tuple[NDArray[Any], ...]:
    """The values of a column; of lists, their members and their lengths."""
    if isinstance(column, Lists):
        return (column.members, np.diff(column.offsets))
    if isinstance(column, Sparse):  # the writer has refused it before
        raise TypeError("an array has a value for every row")
    return (column,)


def _like(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    """A new member with the date and the compression of another."""
    new = zipfile.ZipInfo(name, info.date_time)
    new.compress_type = info.compress_type
    return new
