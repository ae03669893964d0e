"""Files and folders that appear whole or not at all.

Everything is written beside its final place under a hidden temporary name, flushed to the disk,
and then renamed. A failure at any point leaves what was there before.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: the old content or the new is found at `path`, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces `path` if the block succeeds."""
    path = path.resolve()  # of a link, what it points to is replaced
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; allowed: a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it takes the place of `folder` if the block succeeds."""
    folder = folder.resolve()  # of a link, what it points to is replaced
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = _beside(folder)
    staging.mkdir()
    try:
        yield staging
        for path in staging.rglob("*"):
            _sync(path)
        _sync(staging)
        _swap(staging, folder)
        _sync(folder.parent)
    finally:
        # After a swap this is the folder that was replaced.
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, folder: Path) -> None:
    """Put `staging` at `folder`; what was at `folder`, if anything, ends up at `staging`."""
    if not folder.exists():
        staging.rename(folder)
    elif not _exchange(staging, folder):
        # Without an atomic exchange there is a moment with no folder, never one with half.
        aside = staging.with_name(staging.name + ".old")
        folder.rename(aside)
        try:
            staging.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        aside.rename(staging)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step (renameat2, Linux); False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return done == 0


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open a folder to flush it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    # The suffix is kept: writers choose their format by it.
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{path.suffix}")
