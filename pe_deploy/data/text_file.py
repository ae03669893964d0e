"""Lines of a UTF-8 file, read so that it can be written back the way it was."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from pe_deploy.errors import DataError


class TextFile:
    """An open text file; its byte order mark and line ending are kept for a copy of it.

    Iterating gives each line with its ending and without the byte order mark.
    """

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.newline = "\r\n" if handle.readline().endswith(b"\r\n") else "\n"
        handle.seek(0)
        self._encoding = "utf-8-sig"
        if handle.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            self._encoding = "utf-8"
            handle.seek(0)
        self._handle = handle
        self._size = os.fstat(handle.fileno()).st_size

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._handle, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self.path}: line {number} is not UTF-8 text, at its byte {error.start + 1}"
                ) from error
            yield text

    @property
    def done(self) -> float:
        """The share of the bytes read so far."""
        return self._handle.tell() / self._size

    @contextmanager
    def create_like(self, path: Path) -> Iterator[TextIO]:
        """Open a new file for text, with a byte order mark if this one has it.

        Line ends are written as they are given.
        """
        with path.open("w", encoding=self._encoding, newline="") as file:
            yield file


@contextmanager
def open_text(path: Path) -> Iterator[TextFile]:
    """Open a UTF-8 file for reading."""
    with path.open("rb") as handle:
        yield TextFile(path, handle)


def plain(values: NDArray[Any], dtype: np.dtype[Any]) -> list[Any]:
    """The values as Python's own int, float and str, for text formats.

    A float32 becomes the double with the shortest decimals that give the same float32 back: 0.9,
    where a plain conversion would write 0.8999999761581421.
    """
    values = np.asarray(values, dtype)
    if values.dtype == np.float32:
        values = values.astype(str).astype(np.float64)
    python_values: list[Any] = values.tolist()
    return python_values
