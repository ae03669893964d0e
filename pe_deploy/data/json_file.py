"""Rows of a JSON file: objects, a line each or in an array, with a list of ids or a text.

pyarrow's JSON reader is faster and loses data: it turns text that looks like a date into a
timestamp and gives all rows one type. Here a written row is the text of the line it was read from
with members added at its end, so numbers, escapes and the order of keys stay what they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column
from pe_deploy.data.reader import Append, How, Ids, Types, shortened
from pe_deploy.data.suffix import suffix_of
from pe_deploy.data.text_reader import TextReader, cells_of
from pe_deploy.data.written_ids import Notation, members_of

LARGEST_ARRAY = 2**29
"""The most bytes of a file that is one JSON array, which is read as a whole."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_SPACE = re.compile(r"\s*")
_ARRAYS = (".json", ".json.gz")
_PEEKED = 4096
_ALLOWED_LIST = "allowed: a list of integers"


class _Record(NamedTuple):
    text: str
    fields: dict[str, Any]


class JsonReader(TextReader):
    """Reads JSON lines, and a JSON array of objects; rows may differ in their columns.

    Which of both a file is shows in its first character: many a `.json` file holds lines. Blank
    lines are not rows.
    """

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how, stack)
        self._is_array = suffix_of(path) in _ARRAYS and self.peek(_PEEKED).lstrip()[:1] == b"["
        records = self._of_array() if self._is_array else self._of_lines()
        first = list(islice(records, 1))
        self._records = chain(first, records)
        if first:
            self._found(tuple(first[0].fields))

    def _of_lines(self) -> Iterator[_Record]:
        for row, text in enumerate(filter(None, map(str.strip, self.lines())), 1):
            yield _Record(text, self._fields(row, text, json.loads))

    def _of_array(self) -> Iterator[_Record]:
        text = self.whole(LARGEST_ARRAY, "a JSON array", "or JSON lines, of any size")
        decode = json.JSONDecoder().raw_decode
        start, row = _after_space(text, _after_space(text, 0) + 1), 1
        if text[start : start + 1] == "]":
            return
        while True:
            fields, end = self._fields(row, text, partial(decode, idx=start))
            yield _Record(text[start:end], fields)
            end = _after_space(text, end)
            if text[end : end + 1] == "]":
                break
            if text[end : end + 1] != ",":
                raise self.bad_row(row, "not JSON: no comma and no bracket after it")
            start, row = _after_space(text, end + 1), row + 1
        if _after_space(text, end + 1) != len(text):
            raise self.bad_row(row, "not JSON: more after the end of the array")

    def _take(self, first_row: int) -> list[_Record]:
        return list(self.taken(self._records))

    def _fields(self, row: int, text: str, decode: Callable[[str], Any]) -> Any:
        try:
            found = decode(text)
        except json.JSONDecodeError as error:
            raise self.bad_row(row, f"not JSON: {error.msg}, at character {error.colno}") from error
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            raise self.bad_row(row, f"JSON that cannot be read: {error}") from error
        fields = found[0] if isinstance(found, tuple) else found
        if not isinstance(fields, dict):
            raise self.bad_row(row, f"a JSON {type(fields).__name__}; allowed: an object")
        return found

    def _ids(self, records: list[_Record], first_row: int, errors: dict[int, str]) -> Ids:
        rows: list[list[Any]] = []
        for index, ids in enumerate(self._cells(records, first_row, errors)):
            if isinstance(ids, str):
                (ids,) = members_of([ids])
                ids = [int(member) if _INTEGER.fullmatch(member) else member for member in ids]
            elif not isinstance(ids, list):
                reason = f"{shortened(_shown(ids))} is not a list; {_ALLOWED_LIST}"
                if isinstance(ids, dict):
                    reason += "; with pandas write orient='records'"
                self.flaw(errors, first_row, index, reason)
                ids = []
            rows.append(ids)
        return self.listed_ids(rows, _AS_JSON, first_row, errors)

    def _texts(self, records: list[_Record], first_row: int, errors: dict[int, str]) -> list[str]:
        texts: list[str] = []
        for index, text in enumerate(self._cells(records, first_row, errors)):
            if not isinstance(text, str):
                reason = f"{shortened(_shown(text))} is no text; allowed: text"
                self.flaw(errors, first_row, index, reason)
                text = ""
            texts.append(text)
        return texts

    def _cells(
        self, records: list[_Record], first_row: int, errors: dict[int, str]
    ) -> Iterator[Any]:
        for index, record in enumerate(records):
            if self.column in record.fields:
                yield record.fields[self.column]
            elif self.how.tolerant:
                errors[index] = self._lacking(self.column, record)
                yield None
            else:
                raise self.bad_row(first_row + index, self._lacking(self.column, record))

    def _lacking(self, column: str, record: _Record) -> str:
        return f"no column {column!r}; its columns: {', '.join(record.fields)}"

    def _labels(self, chunk: Chunk) -> list[Any]:
        column, labels = self.how.columns.label, []
        for row, record in enumerate(chunk.records, chunk.first_row):
            if column not in record.fields:
                raise self.bad_row(row, self._lacking(column, record))
            labels.append(record.fields[column])
        return labels

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        encode = json.JSONEncoder(ensure_ascii=False).encode
        between = f",{self.newline}" if self._is_array else self.newline
        with self.create_like(path, suffix) as file:
            if self._is_array:
                file.write("[")
            first = True

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                nonlocal first
                rows = enumerate(zip(chunk.records, *map(cells_of, columns), strict=True))
                for row, (record, *cells) in rows:
                    for name in names:
                        if name in record.fields:
                            raise self.bad_row(
                                chunk.first_row + row,
                                f"a column {name!r}, which is to be added; row 1 has none",
                            )
                    members = encode(dict(zip(names, cells, strict=True)))
                    opened = record.text.removesuffix("}").rstrip()
                    comma = ", " if record.fields else ""
                    file.write(f"{'' if first else between}{opened}{comma}{members[1:]}")
                    first = False

            yield append
            if self._is_array:
                file.write("]")
            if self._is_array or not first:
                file.write(self.newline)


def _integers(rows: list[list[Any]]) -> Iterable[int]:
    # By exact type: a bool is an int to Python, and numpy would cut a float to fit.
    if not set(map(type, chain.from_iterable(rows))) <= {int}:
        raise ValueError
    return chain.from_iterable(rows)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_AS_JSON = Notation(_integers, lambda value: type(value) is int, _shown)


def _after_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return start if match is None else match.end()
