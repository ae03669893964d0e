"""How fast a file is labelled, beside the same rows in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.result import Spread, about
from pe_deploy.bench.rounds import Progress, check_seconds, in_turns
from pe_deploy.bench.tables import rate_facts
from pe_deploy.data import Chunk, open_rows
from pe_deploy.data.chunk import offsets_of
from pe_deploy.errors import DataError
from pe_deploy.runtime import OnnxClassifier, usable_cpus
from pe_deploy.runtime.predict_file import predict_file
from pe_deploy.view import html


@dataclass(frozen=True)
class FileRate:
    """Rows a second from file to file, and in memory.

    Attributes:
        bundle: the bundle's path.
        file: the file's path.
        rows: how many it holds.
        threads: how many onnxruntime may use.
        rounds: how often both were measured, in turns.
        file_rows_per_second: read, labelled and written to a file beside it; the median.
        memory_rows_per_second: `predict` of the same classifier on all rows at once.
        ratio: the first as a share of the second, in the same round.
        about: the machine and the versions.
    """

    bundle: str
    file: str
    rows: int
    threads: int
    rounds: int
    file_rows_per_second: float
    memory_rows_per_second: float
    ratio: Spread
    about: dict[str, str | int]

    def __repr__(self) -> str:
        return (
            f"<FileRate {self.file}: {self.file_rows_per_second:,.0f} rows a second, "
            f"{self.ratio.median:.0%} of what is done in memory>"
        )

    def _repr_html_(self) -> str:
        title, rows = rate_facts(self)
        return html.page(title, html.facts(rows))


def file_rate(
    bundle: str | Path,
    source: str | Path,
    *,
    threads: int | None = None,
    seconds: float,
    progress: Progress | None = None,
) -> FileRate:
    """Measure `predict` on a file; its rows have to fit in memory.

    Args:
        bundle: the bundle's folder.
        source: a `.csv`, `.jsonl`, `.parquet` or `.npz` file; the answers go to a temporary file
            in the same folder.
        threads: threads of onnxruntime, by default the processors that this process may use.
        seconds: about how long to measure; each side runs at least three times.
        progress: called with the share that is done, 0 to 1.

    Raises:
        InvalidInputError: a setting outside its range.
        BundleError: the bundle cannot be opened.
        DataError: the file cannot be read, or holds a row that the model does not take.
        MissingDependencyError: the format needs pyarrow, and it is not installed.
    """
    source = Path(source)
    threads = usable_cpus() if threads is None else threads
    check_seconds(seconds)
    classifier = OnnxClassifier(bundle, num_threads=threads)
    rows = _rows(source)
    # Beside the input: the folder for temporary files may be memory.
    with tempfile.TemporaryDirectory(dir=source.resolve().parent, prefix=".bench-") as folder:
        output = Path(folder) / f"out{source.suffix}"
        by_file = partial(predict_file, classifier, source, output)
        by_file()  # warms both; it also names a bad row by its place in the file
        tasks = {
            "file": partial(_seconds, by_file),
            "memory": partial(_seconds, partial(classifier.predict, rows)),
        }
        taken = in_turns(tasks, seconds, progress)
    return FileRate(
        bundle=str(bundle),
        file=str(source),
        rows=len(rows),
        threads=threads,
        rounds=len(taken["file"]),
        file_rows_per_second=len(rows) / float(np.median(taken["file"])),
        memory_rows_per_second=len(rows) / float(np.median(taken["memory"])),
        ratio=Spread.of(np.divide(taken["memory"], taken["file"])),
        about=about(),
    )


def _rows(source: Path) -> NDArray[np.int64] | list[NDArray[np.int64]]:
    """All rows of a file: one array, or one a row where lengths differ."""
    with open_rows(source) as reader:
        chunks = [(chunk.values, np.diff(chunk.offsets)) for chunk in reader]
    if not chunks:
        raise DataError(f"{source}: holds no rows; allowed: at least one")
    values, lengths = map(np.concatenate, zip(*chunks, strict=True))
    return Chunk(1, values, offsets_of(lengths), None, 1.0).rows()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
