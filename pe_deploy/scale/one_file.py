"""One file of many: what every engine does with it, and says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pe_deploy.data import Columns
from pe_deploy.errors import DataError, PeDeployError, printable
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import OnError, predict_file
from pe_deploy.scale.places import Place


class File(NamedTuple):
    """A file to answer.

    Attributes:
        name: its path in the folder.
        shown: its path as errors name it.
        source: where it is.
        output: where its answers go.
    """

    name: str
    shown: str
    source: Place
    output: Place


class Outcome(NamedTuple):
    """What became of a file.

    Attributes:
        name: its path in the folder.
        rows: how many were written.
        errors: how many of these have no answer.
        cut: how many texts were cut.
        failure: why nothing was written, in one line; empty where something was.
    """

    name: str
    rows: int
    errors: int
    cut: int
    failure: str


@dataclass(frozen=True)
class FileScorer:
    """Answers a file; it can be pickled, with its classifier.

    Attributes:
        classifier: what answers.
        columns: as `predict_file` takes them, and the others likewise.
    """

    classifier: OnnxClassifier
    columns: Columns
    delimiter: str | None
    on_error: OnError

    def __call__(self, file: File, progress: Callable[[float], None] | None = None) -> Outcome:
        """Write the answers of a file whole, or say why there are none."""
        before = self.classifier.truncated
        try:
            rows, errors = self._write(file, progress)
        except (PeDeployError, OSError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if not reason.startswith(file.shown):
                reason = f"{file.shown}: {reason}"
            return Outcome(file.name, 0, 0, 0, printable(reason))
        return Outcome(file.name, rows, errors, self.classifier.truncated - before, "")

    def _write(self, file: File, progress: Callable[[float], None] | None) -> tuple[int, int]:
        before = file.source.look()
        if before is None:
            raise DataError(f"{file.shown}: no such file")
        with file.source.fetched() as source:
            try:
                with file.output.written() as output:
                    done = predict_file(
                        self.classifier,
                        source,
                        output,
                        progress,
                        columns=self.columns,
                        delimiter=self.delimiter,
                        on_error=self.on_error,
                    )
                    if file.source.look() != before:
                        output.unlink()
                        raise DataError(f"{file.shown}: changed while it was read")
            except DataError as error:
                raise DataError(str(error).replace(str(source), file.shown)) from error
        return done


def outcome_table(outcomes: list[Outcome]) -> Any:
    """Outcomes as rows of a table."""
    return pa.Table.from_pylist([outcome._asdict() for outcome in outcomes], OUTCOME)


OUTCOME = pa.schema(
    [
        ("name", pa.string()),
        ("rows", pa.int64()),
        ("errors", pa.int64()),
        ("cut", pa.int64()),
        ("failure", pa.string()),
    ]
)


def counted(count: int, thing: str) -> str:
    """So many of a thing."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
