"""Damaged files, reported in one line."""

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
