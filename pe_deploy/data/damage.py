"""Damaged files, and files with strange names, reported in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pe_deploy.errors import DataError


@contextmanager
def reading(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn the errors that a library raises for a damaged file into one line."""
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable {kind} file: {reason}") from error


@contextmanager
def one_line() -> Iterator[None]:
    """Escape the control characters that names of files and columns bring into a `DataError`."""
    try:
        yield
    except DataError as error:
        shown = (char if char.isprintable() else repr(char)[1:-1] for char in str(error))
        error.args = ("".join(shown),)
        raise
