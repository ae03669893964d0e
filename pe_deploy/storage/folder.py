"""A folder read as one: regular files only, no more of them than is allowed, never a mixture."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

# Where the system has it: never wait for the other end of a pipe.
_SAFELY = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
BY_DESCRIPTOR = os.supports_dir_fd >= {os.open, os.stat}
"""Whether the system finds files by an open folder."""


class Folder:
    """An open folder; its files are found by the folder itself, whatever its path names by now.

    Where the system has no descriptors of folders (Windows), they are found by path.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._identity = _folder_identity(path if descriptor is None else descriptor)
        self._seen: dict[str, tuple[int, ...]] = {}

    def read(self, name: str, largest: int, size: int | None = None) -> bytes:
        """The bytes of a regular file, perhaps behind links.

        Args:
            name: its name in this folder.
            largest: the most bytes that it may have.
            size: the bytes that it should have, if that is known.

        Raises:
            ValueError: it is no regular file, larger than allowed, or of another size.
            FileNotFoundError: there is no such file, or a link that leads nowhere.
            OSError: it cannot be read.
        """
        where = f"{self.path}/{name}"  # no `Path`, which is slow to import
        # Looked at before it is opened, since to open a device may act on it; and again after.
        found = self._stat(name)
        self._seen[name] = _file_identity(found)
        _check(where, found, largest, size)
        descriptor = os.open(self._place(name), _SAFELY, dir_fd=self._descriptor)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - no path
            found = os.fstat(descriptor)
            _check(where, found, largest, size)
            # One more, to see that it does not grow; nothing, where it would have to be waited for.
            data = file.read(found.st_size + 1) or b""
        if len(data) != found.st_size:
            raise ValueError(f"{where} was changed while it was read")
        return data

    def was_replaced(self) -> bool:
        """Whether its path, or the name of a file that was read, leads elsewhere by now.

        So it is after a swap of the folder, or of links in it, and while files are written to.
        """
        try:
            return _folder_identity(self.path) != self._identity or any(
                _file_identity(self._stat(name)) != seen for name, seen in self._seen.items()
            )
        except OSError:
            return True

    def _place(self, name: str) -> str:
        return f"{self.path}/{name}" if self._descriptor is None else name

    def _stat(self, name: str) -> os.stat_result:
        return os.stat(self._place(name), dir_fd=self._descriptor)


@contextmanager
def open_folder(path: str) -> Iterator[Folder]:
    """Open a folder, itself perhaps behind a link.

    Raises:
        OSError: it is no folder, or cannot be read.
    """
    if not BY_DESCRIPTOR:
        yield Folder(path, None)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def _folder_identity(place: str | int) -> tuple[int, ...]:
    found = os.stat(place)  # noqa: PTH116 - perhaps no path
    return found.st_dev, found.st_ino


def _file_identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _check(where: str, found: os.stat_result, largest: int, size: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{where} is not a regular file")
    if size is not None and found.st_size != size:
        raise ValueError(
            f"{where} was changed after it was published: it has {found.st_size} bytes "
            f"instead of {size}"
        )
    if found.st_size > largest:
        raise ValueError(f"{where} has {found.st_size} bytes; allowed: {largest} or fewer")
