"""Open a data file by its suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pe_deploy.data.columns import Columns
from pe_deploy.data.csv_file import CsvReader, checked_delimiter
from pe_deploy.data.json_file import JsonReader
from pe_deploy.data.npz_file import NpyReader, NpzReader
from pe_deploy.data.plain_file import LinesReader
from pe_deploy.data.reader import READ_ROWS, How, RowReader
from pe_deploy.data.suffix import suffix_of
from pe_deploy.errors import DataError, InvalidInputError, requires_extra


def _parquet(path: Path, how: How, stack: ExitStack) -> RowReader:
    with requires_extra("cli"):
        from pe_deploy.data.parquet_file import ParquetReader
    return ParquetReader(path, how, stack)


_OF_TEXT: dict[str, Callable[[Path, How, ExitStack], RowReader]] = {
    ".csv": CsvReader,
    ".tsv": CsvReader,
    ".jsonl": JsonReader,
    ".json": JsonReader,
    ".txt": LinesReader,
}
_FORMATS = {
    **_OF_TEXT,
    ".parquet": _parquet,
    ".npz": NpzReader,
    ".npy": NpyReader,
    **{f"{suffix}.gz": reader for suffix, reader in _OF_TEXT.items()},
}
SUFFIXES = f"{', '.join(list(_FORMATS)[: -len(_OF_TEXT)])}, and .gz of text"

_EXCEL = "save it as 'CSV UTF-8'"
_ARROW = "write it as .parquet"
_PICKLE = "a pickle may run code where it is read; write it as .parquet or .jsonl"
_INSTEAD = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _EXCEL),
    **dict.fromkeys((".feather", ".arrow", ".ipc", ".orc", ".avro", ".h5", ".hdf5"), _ARROW),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    **dict.fromkeys((".pt", ".pth"), "write the ids as .npy, by numpy.save"),
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst", ".7z", ".tar"), "unpack it first"),
    ".ndjson": "call it .jsonl",
}


def is_data(path: Path) -> bool:
    """Whether a file's name says that it holds rows: `open_rows` takes it, or says what to do."""
    suffix = suffix_of(path)
    return suffix in _FORMATS or suffix in _INSTEAD or path.suffix.lower() in _INSTEAD


@contextmanager
def open_rows(
    path: str | Path,
    *,
    chunk_rows: int = READ_ROWS,
    columns: Columns = Columns(),  # noqa: B008 (it is frozen)
    delimiter: str | None = None,
    tolerant: bool = False,
) -> Iterator[RowReader]:
    """Open a data file and yield its reader.

        with (
            open_rows("in.csv") as reader,
            reader.writer(Path("out.csv"), {"label": np.int64}) as write,
        ):
            for chunk in reader:
                write(chunk, {"label": predict(chunk.rows())})

    Memory does not grow with the file, but for `.json` that is one array, whose text is read as a
    whole.

    Args:
        path: a `.csv`, `.tsv`, `.jsonl`, `.json` or `.txt` file, each of which may be compressed
            as `.gz`, or a `.parquet`, `.npz` or `.npy` file.
        chunk_rows: the most rows in a chunk.
        columns: the names of the columns to read.
        delimiter: what separates the cells of a CSV file, where the header does not show it.
        tolerant: note in `Chunk.errors` that a row's ids or text cannot be read, in place of
            raising it.

    Raises:
        InvalidInputError: `chunk_rows` is below 1, `delimiter` is not a character, or `columns`
            states both ids and a text.
        DataError: the file is missing, of another suffix, damaged, or has no such column.
        MissingDependencyError: the format needs pyarrow, and it is not installed.

    >>> with open_rows("models/demo-held-out.csv", chunk_rows=100) as reader:
    ...     [len(chunk) for chunk in reader]
    [100, 100, 100, 59]
    """
    path = Path(path)
    if chunk_rows < 1:
        raise InvalidInputError(f"chunk_rows is {chunk_rows}; allowed: 1 or more")
    if columns.ids is not None and columns.text is not None:
        raise InvalidInputError(
            f"the ids are in {columns.ids!r} and the text is in {columns.text!r}; allowed: one"
        )
    how = How(chunk_rows, columns, checked_delimiter(delimiter), tolerant)
    suffix = suffix_of(path)
    if suffix not in _FORMATS:
        instead = _INSTEAD.get(suffix) or _INSTEAD.get(path.suffix.lower())
        hint = f"{instead}; " if instead else ""
        raise DataError(f"{path}: suffix {suffix!r}; {hint}allowed: {SUFFIXES}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # a NUL character, say
        raise DataError(f"{path}: not a path: {error}") from error
    with ExitStack() as stack:
        yield _FORMATS[suffix](path, how, stack)
