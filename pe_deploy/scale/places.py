"""Where files are: paths of this machine, or URIs that pyarrow's file systems know."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from pe_deploy.data.uri import is_uri
from pe_deploy.errors import DataError, line_of
from pe_deploy.storage.atomic import write_bytes

_WHOLE_AT_CLOSE = ("s3", "gcs", "abfs")
"""What shows a new object when all of it has arrived."""


class Entry(NamedTuple):
    """A file as it is found.

    Attributes:
        size: its bytes.
        changed: when, in nanoseconds.
    """

    size: int
    changed: int


class Place:
    """A file or folder, here or elsewhere. It can be pickled; a copy connects anew."""

    def __init__(self, given: str) -> None:
        self._given = given
        self.local: Path | None = None
        self._system: Any = None
        self._path = ""
        if is_uri(given) and not given.startswith("file://"):
            return
        path = unquote(urlsplit(given).path) if is_uri(given) else given
        self.local = Path(path)

    @property
    def absolute(self) -> Place:
        """The same, wherever a process's working folder is."""
        return self if self.local is None else Place(os.path.abspath(self.local))  # noqa: PTH100

    def __str__(self) -> str:
        """As it was given, without what a URI says of credentials."""
        if self.local is not None:
            return str(self.local)
        parts = urlsplit(self._given)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def __truediv__(self, name: str) -> Place:
        if self.local is not None:
            return Place(str(self.local / name))
        parts = urlsplit(self._given)
        # A name is none of a URI's: `%20` or `#` in it, as in Hive's partitions, means itself.
        path = f"{parts.path.rstrip('/')}/{quote(name, safe='/=')}"
        return Place(urlunsplit(parts._replace(path=path)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_system": None}

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """The file system; what it raises becomes one line, without credentials."""
        try:
            if self._system is None:
                self._system, self._path = fs.FileSystem.from_uri(self._given)
            yield self._system
        except FileNotFoundError as error:
            raise DataError(f"{self}: no such file or folder") from error
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{self}: {self._clean(line_of(error))}") from None

    def _clean(self, text: str) -> str:
        parts = urlsplit(self._given)
        secret = [part for part in (parts.username, parts.password, parts.query) if part]
        for part in (self._given, *secret, *map(unquote, secret)):
            text = text.replace(part, str(self) if part == self._given else "…")
        return text

    def look(self) -> Entry | None:
        """The file that is here; None where there is none, or a folder."""
        if self.local is not None:
            if not self.local.is_file():
                return None
            found = self.local.stat()
            return Entry(found.st_size, found.st_mtime_ns)
        with self._connected() as system:
            info = system.get_file_info(self._path)
        return Entry(info.size, info.mtime_ns or 0) if info.type == fs.FileType.File else None

    def is_folder(self) -> bool:
        """Whether a folder is here."""
        if self.local is not None:
            return self.local.is_dir()
        with self._connected() as system:
            return bool(system.get_file_info(self._path).type == fs.FileType.Directory)

    def walk(self) -> dict[str, Entry | None]:
        """The files of a folder and those below it that no data set hides, by relative path.

        None stands for a link that leads nowhere. Hidden are names that begin with a dot or an
        underscore, but for a partition's.

        Raises:
            DataError: the folder cannot be read, or a link makes a circle.
        """
        if self.local is not None:
            return dict(sorted(_walk(self.local, "", (), self)))
        with self._connected() as system:
            infos = system.get_file_info(fs.FileSelector(self._path, recursive=True))
            base = PurePosixPath(self._path)
            found = {
                str(PurePosixPath(info.path).relative_to(base)): Entry(
                    info.size, info.mtime_ns or 0
                )
                for info in infos
                if info.type == fs.FileType.File
            }
        return {
            name: entry
            for name, entry in sorted(found.items())
            if not any(map(is_hidden, name.split("/")))
        }

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """The file on this machine: itself, or a temporary copy."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory(prefix="pe_deploy-") as folder:
            copy = Path(folder) / self._name
            with (
                self._connected() as system,
                system.open_input_stream(self._path, compression=None) as source,
                copy.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, 1 << 22)
            yield copy

    @contextmanager
    def written(self) -> Iterator[Path]:
        """A path to write; what is there after the block appears here, whole or not at all."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory(prefix="pe_deploy-") as folder:
            made = Path(folder) / self._name
            yield made
            # No signal comes to a thread: an upload that was broken off would be closed, and then
            # be there in part.
            with self._connected() as system, ThreadPoolExecutor(1) as pool:
                pool.submit(_upload, system, made, self._path).result()

    @property
    def _name(self) -> str:
        return PurePosixPath(unquote(urlsplit(self._given).path)).name or "file"

    def read_bytes(self) -> bytes | None:
        """All of a small file; None where there is none."""
        if self.look() is None:
            return None
        if self.local is not None:
            return self.local.read_bytes()
        with self._connected() as system, system.open_input_stream(self._path) as file:
            data: bytes = file.read()
            return data

    def write_bytes(self, data: bytes) -> None:
        """Put a small file here, whole or not at all."""
        with self.written() as path:
            write_bytes(path, data)

    def remove(self) -> None:
        """Remove the file."""
        if self.local is not None:
            self.local.unlink()
            return
        with self._connected() as system:
            system.delete_file(self._path)

    def apart_from(self, other: Place) -> bool:
        """Whether neither folder lies in the other."""
        if (self.local is None) != (other.local is None):
            return True
        if self.local is not None and other.local is not None:
            parts = [self.local.resolve().parts, other.local.resolve().parts]
        else:
            parts = [place._parts for place in (self, other)]
        shortest = min(map(len, parts))
        return parts[0][:shortest] != parts[1][:shortest]

    @property
    def _parts(self) -> tuple[str, ...]:
        parts = urlsplit(self._given)
        host = parts.netloc.rpartition("@")[2]
        return (parts.scheme, host, *(part for part in parts.path.split("/") if part))


def is_hidden(name: str) -> bool:
    """Whether data sets pass over a file or folder of this name."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _walk(
    folder: Path, below: str, above: tuple[tuple[int, int], ...], top: Place
) -> Iterator[tuple[str, Entry | None]]:
    found = folder.stat()
    identity = (found.st_dev, found.st_ino)
    if identity in above:
        raise DataError(f"{folder} leads back to a folder that it is in; remove that link")
    for path in folder.iterdir():
        if is_hidden(path.name):
            continue
        name = f"{below}{path.name}"
        if path.is_dir():
            yield from _walk(path, f"{name}/", (*above, identity), top)
        else:
            yield name, Place(str(path)).look()


def _upload(system: Any, made: Path, path: str) -> None:
    """Put a file where no part of it is ever seen."""
    whole_at_close = system.type_name in _WHOLE_AT_CLOSE
    folder, _, name = path.rpartition("/")
    to = path if whole_at_close else f"{folder}/.{name}.{secrets.token_hex(8)}"
    if not whole_at_close:
        system.create_dir(folder)
    try:
        with made.open("rb") as file, system.open_output_stream(to, compression=None) as stream:
            if made.stat().st_size:
                # In one call: it is all written, or closing it fails too.
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    stream.write(data)
        if not whole_at_close:
            system.move(to, path)
    except BaseException:
        if not whole_at_close:
            with suppress(OSError):
                system.delete_file(to)
        raise
