"""A folder read as one: no link is followed, no more is read than is allowed, nothing is mixed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pe_deploy.errors import BundleError

# Where the system has them: never follow a link, never wait for the other end of a pipe.
_SAFELY = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_HELD = os.supports_dir_fd >= {os.open, os.stat} and os.listdir in os.supports_fd


@dataclass(frozen=True)
class Folder:
    """An open folder; its files are found by the folder itself, whatever its path names by now.

    Where the system has no descriptors of folders (Windows), they are found by path.
    """

    path: Path
    _identity: tuple[int, int]
    _descriptor: int | None

    def names(self) -> set[str]:
        """The names of everything in it.

        Raises:
            OSError: it cannot be read.
        """
        if self._descriptor is None:
            return {file.name for file in self.path.iterdir()}
        return set(os.listdir(self._descriptor))  # noqa: PTH208 - no path

    def read(self, name: str, largest: int, size: int | None = None) -> bytes:
        """The bytes of a regular file of its own.

        Args:
            name: its name in this folder.
            largest: the most bytes that it may have.
            size: the bytes that it should have, if that is known.

        Raises:
            BundleError: it is a link, no regular file, larger than allowed or of another size.
            OSError: it cannot be read.
        """
        where = self.path / name
        place = where if self._descriptor is None else name
        # Looked at before it is opened, since to open a device may act on it; and again after.
        found = os.stat(place, dir_fd=self._descriptor, follow_symlinks=False)
        _check(where, found, largest, size)
        descriptor = os.open(place, _SAFELY, dir_fd=self._descriptor)
        try:
            found = os.fstat(descriptor)
            _check(where, found, largest, size)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(found.st_size + 1)  # one more, to see that it does not grow
        finally:
            os.close(descriptor)
        if len(data) != found.st_size:
            raise BundleError(f"{where} was changed while it was read")
        return data

    def was_replaced(self) -> bool:
        """Whether its path names another folder by now, or none."""
        try:
            return _identity(self.path.stat()) != self._identity
        except OSError:
            return True


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Open a folder, itself perhaps behind a link.

    Raises:
        OSError: it is no folder, or cannot be read.
    """
    if not _HELD:
        yield Folder(path, _identity(path.stat()), None)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Folder(path, _identity(os.fstat(descriptor)), descriptor)
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _check(where: Path, found: os.stat_result, largest: int, size: int | None) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise BundleError(f"{where} is a symbolic link; allowed: a file")
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"{where} is not a regular file")
    if found.st_nlink > 1:
        raise BundleError(
            f"{where} is a hard link, a file with {found.st_nlink} names; allowed: a copy"
        )
    if size is not None and found.st_size != size:
        raise BundleError(
            f"{where} was changed after it was published: it has {found.st_size} bytes, "
            f"its manifest states {size}"
        )
    if found.st_size > largest:
        raise BundleError(f"{where} has {found.st_size} bytes; allowed: {largest} or fewer")
