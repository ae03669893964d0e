"""How fast a file is labelled, beside the same rows in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.result import Spread, about
from pe_deploy.data import open_rows
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.runtime import OnnxClassifier, usable_cpus
from pe_deploy.runtime.predict_file import predict_file

_FEWEST_ROUNDS = 3


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


def file_rate(
    bundle: str | Path,
    source: str | Path,
    *,
    threads: int | None = None,
    seconds: float,
    progress: Callable[[float], None] | None = None,
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
    if not 0 < seconds < float("inf"):
        raise InvalidInputError(f"seconds is {seconds}; allowed: above 0")
    classifier = OnnxClassifier(bundle, num_threads=threads)
    rows = _rows(source)
    by_file: list[float] = []
    by_memory: list[float] = []
    # Beside the input: the folder for temporary files may be memory.
    with tempfile.TemporaryDirectory(dir=source.resolve().parent, prefix=".bench-") as folder:
        output = Path(folder) / f"out{source.suffix}"

        def from_file() -> None:
            predict_file(classifier, source, output)

        def in_memory() -> None:
            classifier.predict(rows)

        from_file()  # warms both; it also names a bad row by its place in the file
        started = time.perf_counter()
        while len(by_file) < _FEWEST_ROUNDS or time.perf_counter() - started < seconds:
            by_file.append(_seconds(from_file))
            by_memory.append(_seconds(in_memory))
            if progress is not None:
                progress(min(1.0, (time.perf_counter() - started) / seconds))
    ratios = [memory / file for memory, file in zip(by_memory, by_file, strict=True)]
    return FileRate(
        bundle=str(bundle),
        file=str(source),
        rows=len(rows),
        threads=threads,
        rounds=len(ratios),
        file_rows_per_second=len(rows) / float(np.median(by_file)),
        memory_rows_per_second=len(rows) / float(np.median(by_memory)),
        ratio=Spread.of(ratios),
        about=about(),
    )


def _rows(source: Path) -> NDArray[np.int64] | list[NDArray[np.int64]]:
    """All rows of a file: one array, or one a row where lengths differ."""
    with open_rows(source) as reader:
        chunks = [chunk.rows() for chunk in reader]
    if not chunks:
        raise DataError(f"{source}: holds no rows; allowed: at least one")
    arrays: list[Any] = [chunk for chunk in chunks if not isinstance(chunk, list)]
    if len(arrays) == len(chunks) and len({array.shape[1] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return list(chain.from_iterable(chunks))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
