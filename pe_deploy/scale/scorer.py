"""A bundle as one callable from tables of Arrow to tables of Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pe_deploy.data import Columns
from pe_deploy.data.arrow_rows import TableRows
from pe_deploy.data.reader import READ_ROWS, How
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import OnError, added_types, answers
from pe_deploy.storage.digest import sha256

if TYPE_CHECKING:
    from pe_deploy.text.spec import TooLong


class Scorer:
    """Adds to a table the columns that `pe-deploy predict` adds to a file.

    It can be pickled, and then takes the bundle along: a worker of Ray or Spark needs no file. With
    `shared`, only the path goes, and the bundle that is found there has to be the same.

    A table is answered in pieces of 4,096 rows, as a file is. Which piece a row is in, and how many
    threads there are, may decide the last bits of its probability, never more.

    Args:
        bundle: the bundle's folder.
        columns: the names of the columns with ids or texts, where these are not `input_ids`, or
            `text` in a table without it.
        on_error: with `"null"` a row without an answer has null in the added columns, and the
            reason in one that is called `error`.
        threshold: in place of the bundle's own.
        truncation: which end of a text that is too long is cut, "start" or "end", or "error"; by
            default as the bundle states it.
        num_threads: those of one call; several workers on one machine should have one each.
        public_key: a PEM file; the bundle has to be signed with its private key.
        shared: whether each process that gets a copy finds the bundle at the same path.

    Raises:
        BundleError: as `OnnxClassifier` raises it, and InvalidInputError likewise.

    >>> import pyarrow as pa
    >>> from pe_deploy.scale import Scorer
    >>> score = Scorer("models/demo")
    >>> score(pa.table({"input_ids": [[0, 16, 8], [3, 3, 3]]})).column_names
    ['input_ids', 'label', 'probability']
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        columns: Columns = Columns(),  # noqa: B008 (it is frozen)
        on_error: OnError = "fail",
        threshold: float | None = None,
        truncation: TooLong | None = None,
        num_threads: int | None = 1,
        public_key: str | Path | None = None,
        shared: bool = False,
    ) -> None:
        if on_error not in ("fail", "null"):
            raise InvalidInputError(f"on_error is {on_error!r}; allowed: fail, null")
        self._how = How(READ_ROWS, columns, None, on_error == "null")
        self._options = {
            "threshold": threshold,
            "truncation": truncation,
            "num_threads": num_threads,
            "public_key": public_key,
        }
        self._folder = Path(bundle).absolute()
        self._shared = shared
        self._classifier = OnnxClassifier(bundle, **self._options)  # type: ignore[arg-type]
        self._digest = digest_of(self._classifier)

    def __repr__(self) -> str:
        return f"<Scorer {self._classifier!r}>"

    def __call__(self, table: Any) -> Any:
        """The rows of a `pyarrow.Table` or `RecordBatch`, in their order, with columns added.

        A column that is there already is kept, and the added one is called `predicted_<name>`.

        Raises:
            DataError: there is no such column, or it is of another type; or a row, counted from 1,
                has no answer and `on_error` is `"fail"`.
            InvalidInputError: it is no table of Arrow.
        """
        if isinstance(table, pa.RecordBatch):
            scored = self(pa.Table.from_batches([table])).combine_chunks()
            return next(iter(scored.to_batches()), pa.RecordBatch.from_pylist([], scored.schema))
        if not isinstance(table, pa.Table):
            raise InvalidInputError(
                f"the table is a {type(table).__name__}; allowed: a pyarrow.Table or RecordBatch"
            )
        reader = TableRows(table, self._how)
        schema = reader.schema_with(added_types(self._classifier, self._how.tolerant))
        found = answers(self._classifier, reader)
        batches = [reader.batch_with(chunk, added, schema) for chunk, added in found]
        return pa.Table.from_batches(batches, schema)

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Each record batch with columns added, as Spark's `mapInArrow` has it.

        Raises:
            DataError: as a call does.
        """
        return map(self, batches)

    def schema(self, schema: Any) -> Any:
        """The schema of what is answered to tables of this schema.

        Raises:
            DataError: there is no column that it can read.
        """
        return self(schema.empty_table()).schema

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **({"_classifier": None} if self._shared else {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._shared:
            self._classifier = OnnxClassifier(self._folder, **self._options)  # type: ignore[arg-type]
            if digest_of(self._classifier) != self._digest:
                raise BundleError(
                    f"{self._folder} is another bundle than where the scorer was made"
                )


def digest_of(classifier: OnnxClassifier) -> str:
    """The SHA-256 of a bundle's manifest, which vouches for its files."""
    return sha256(classifier.manifest.to_json())
