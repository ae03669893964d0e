"""A zip archive with nothing odd about it, so that every reader finds the same in it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from pe_deploy.errors import line_of

_MOST_MEMBERS = 10_000
_END = struct.Struct("<4s4H2LH")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)
"""What `zipfile` raises for an archive that is damaged or odd."""


class StrictZip:
    """The members of an archive, none of which is read before it is asked for.

    Args:
        data: the archive.
        name: what to call it in an error.
        largest: the most bytes that its members may have together, decompressed.

    Raises:
        ValueError: it is no zip archive, or has a comment, something before or after it, a member
            twice, an encrypted one, another compression than deflate, or too much in it.
    """

    def __init__(self, data: bytes, name: str, largest: int) -> None:
        self.name = name
        _check_frame(data, name)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except _DAMAGE as error:
            raise ValueError(f"{name} is not a plain zip archive: {line_of(error)}") from error
        entries = self._archive.infolist()
        self.members = {entry.filename: entry for entry in entries}
        if len(self.members) != len(entries):
            raise ValueError(f"{name} holds a member twice")
        for entry in entries:
            odd = entry.flag_bits & 1 or entry.compress_type not in _METHODS
            if odd or entry.filename != entry.orig_filename:
                raise ValueError(
                    f"{name} holds {entry.filename[:100]!r}, which is encrypted, compressed by "
                    "another method than deflate, or oddly named"
                )
        total = sum(entry.file_size for entry in entries)
        if total > largest:
            raise ValueError(f"{name} holds {total} bytes; allowed: {largest} or fewer")

    def read(self, member: str) -> bytes:
        """The bytes of a member, as many as the archive states and no more.

        Raises:
            ValueError: there is no such member, or it is damaged.
        """
        try:
            entry = self.members[member]
        except KeyError:
            raise ValueError(f"{self.name} lacks {member}") from None
        try:
            with self._archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except _DAMAGE as error:
            raise ValueError(f"{self.name}: {member[:100]!r}: {line_of(error)}") from error
        if len(content) != entry.file_size:
            raise ValueError(
                f"{self.name}: {member[:100]!r} has {len(content)} bytes instead of the "
                f"{entry.file_size} that the archive states"
            )
        return content


def _check_frame(data: bytes, name: str) -> None:
    """Members from the first byte, then their list, then the end: all that two readers agree on."""
    where = len(data) - _END.size
    plain = data.startswith(b"PK\x03\x04") and where > 0
    if plain:
        mark, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, where)
        plain = (
            mark == b"PK\x05\x06"
            and disk == first_disk == comment == 0
            and here == count <= _MOST_MEMBERS
            and start + size == where
            # Counted too, since a reader goes through the list as long as it is.
            and data.count(b"PK\x01\x02", start) <= _MOST_MEMBERS
        )
    if not plain:
        raise ValueError(
            f"{name} is not a plain zip archive: allowed are up to {_MOST_MEMBERS} members, their "
            "list and the end, and nothing before, between or after"
        )
