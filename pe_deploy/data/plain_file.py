"""Rows of files that hold no columns, a text a line or an array of ids: written as a new table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pe_deploy.data.chunk import Chunk
from pe_deploy.data.columns import TEXT, Columns
from pe_deploy.data.csv_file import LineEnds, added_cells
from pe_deploy.data.lists import Column
from pe_deploy.data.reader import Append, How, RowReader, Types
from pe_deploy.data.text_reader import LineFile, cells_of, create

NEW_TABLES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")


class Columnless(RowReader):
    """What is written back is a table of one column for the rows, and the added ones."""

    _why = ", as the input has no columns"

    @property
    def allowed_suffixes(self) -> tuple[str, ...]:
        """Those of tables that are made anew."""
        return NEW_TABLES

    def _labels(self, chunk: Chunk) -> list[Any]:
        raise self.bad_row(chunk.first_row, "no label")  # `labels` has refused it before

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        with create(path, suffix) as file:
            if suffix.startswith(".jsonl"):
                encode = json.JSONEncoder(ensure_ascii=False).encode

                def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                    rows = zip(_rows(chunk), *map(cells_of, columns), strict=True)
                    header = [self.column, *names]
                    for row in rows:
                        file.write(encode(dict(zip(header, row, strict=True))) + "\n")

            else:
                delimiter = "\t" if suffix.startswith(".tsv") else ","
                writer = csv.writer(LineEnds(file, "\n"), delimiter=delimiter)
                writer.writerow([self.column, *names])

                def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                    cells = [
                        row if isinstance(row, str) else " ".join(map(str, row))
                        for row in _rows(chunk)
                    ]
                    added = added_cells(self, chunk, names, columns)
                    writer.writerows(zip(cells, *added, strict=True))

            yield append


def _rows(chunk: Chunk) -> list[Any]:
    if chunk.texts is not None:
        return chunk.texts
    return [row.tolist() for row in chunk.rows()]


class LinesReader(Columnless, LineFile):
    """Reads a text a line; an empty line is an empty text, so that rows are lines."""

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how, stack)
        self._found((TEXT,))

    def __iter__(self) -> Iterator[Chunk]:
        lines = (line.removesuffix("\n").removesuffix("\r") for line in self.lines())
        first_row = 1
        while texts := list(self.taken(lines)):
            yield Chunk.of_texts(first_row, texts, None, self.done)
            first_row += len(texts)


class TextsReader(Columnless):
    """Texts that are in memory already, in one chunk."""

    def __init__(self, texts: list[str], how: How) -> None:
        super().__init__(Path("--text"), how._replace(columns=Columns()))
        self._texts = texts
        self._found((TEXT,))

    def __iter__(self) -> Iterator[Chunk]:
        if self._texts:
            yield Chunk.of_texts(1, self._texts, None, 1.0)
