"""What the footer of a Parquet file states of its columns.

pyarrow tells the same, and ends the process where a column's statistics are damaged (version 26: no
handler around `RowGroupMetaData.column`). The format is thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pe_deploy.errors import DataError

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)


class Stated(NamedTuple):
    """A column in one row group.

    Attributes:
        rows: how many rows the row group has.
        values: how many values the column has there.
        unpacked: how many bytes before they are compressed.
        packed: how many bytes in the file.
    """

    rows: int
    values: int
    unpacked: int
    packed: int


def row_groups(path: Path, columns: int) -> list[list[Stated]]:
    """What the footer of a file that pyarrow has opened states of each column in each row group.

    Raises:
        DataError: it is damaged, or a row group has not so many columns.
    """
    with path.open("rb") as file:
        end = file.seek(-8, 2)
        size = int.from_bytes(file.read(4), "little")
        file.seek(max(0, end - size))
        data = file.read(size)
    try:
        groups = [list(_columns(group)) for group in _Compact(data).struct()[4]]
    except (IndexError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a readable Parquet file: a damaged footer") from error
    if any(len(group) != columns for group in groups):
        raise DataError(f"{path}: not a readable Parquet file: not {columns} columns everywhere")
    return groups


def _columns(group: dict[int, Any]) -> Iterator[Stated]:
    for chunk in group[1]:
        about = chunk[3]
        yield Stated(int(group[3]), int(about[5]), int(about[6]), int(about[7]))


class _Compact:
    """Reads thrift's compact protocol; a struct is a dict of its fields by their numbers."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._value(head & 15) for _ in range(count)]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _MAP:
            count = self._unsigned()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        raise ValueError(f"type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise IndexError
        self._at += size
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _integer(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
