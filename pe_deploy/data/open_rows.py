"""Open a data file by its suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pe_deploy.data.csv_file import CsvReader
from pe_deploy.data.jsonl_file import JsonlReader
from pe_deploy.data.npz_file import NpzReader
from pe_deploy.data.reader import RowReader
from pe_deploy.errors import DataError, InvalidInputError, requires_extra

READ_ROWS = 4096


def _parquet(path: Path, chunk_rows: int, stack: ExitStack) -> RowReader:
    with requires_extra("cli"):
        from pe_deploy.data.parquet_file import ParquetReader
    return ParquetReader(path, chunk_rows, stack)


_FORMATS: dict[str, Callable[[Path, int, ExitStack], RowReader]] = {
    ".csv": CsvReader,
    ".jsonl": JsonlReader,
    ".parquet": _parquet,
    ".npz": NpzReader,
}


@contextmanager
def open_rows(path: str | Path, *, chunk_rows: int = READ_ROWS) -> Iterator[RowReader]:
    """Open a `.csv`, `.jsonl`, `.parquet` or `.npz` file and yield its reader.

        with (
            open_rows("in.csv") as reader,
            reader.writer(Path("out.csv"), {"label": np.int64}) as write,
        ):
            for chunk in reader:
                write(chunk, {"label": predict(chunk.rows())})

    Memory does not grow with the file. `chunk_rows` is the most rows in a chunk.

    Raises:
        InvalidInputError: `chunk_rows` is below 1.
        DataError: the file is missing, of another suffix, damaged, or has no column `input_ids`.
        MissingDependencyError: the format needs pyarrow, and it is not installed.

    >>> with open_rows("models/demo-held-out.csv", chunk_rows=100) as reader:
    ...     [len(chunk) for chunk in reader]
    [100, 100, 100, 59]
    """
    path = Path(path)
    if chunk_rows < 1:
        raise InvalidInputError(f"chunk_rows is {chunk_rows}; allowed: 1 or more")
    if path.suffix.lower() not in _FORMATS:
        raise DataError(f"{path}: suffix {path.suffix!r}; allowed: {', '.join(_FORMATS)}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # a NUL character, say
        raise DataError(f"{path}: not a path: {error}") from error
    with ExitStack() as stack:
        yield _FORMATS[path.suffix.lower()](path, chunk_rows, stack)
