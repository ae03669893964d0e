"""Every error pe_deploy raises on purpose, in one tree.

    PeDeployError
    ├── InvalidInputError       (also ValueError)   an input or a setting outside its range
    ├── PredictionError         a model that gives no answer, or one that is not finite
    ├── DataError               a data file that is malformed or misses a column
    ├── CheckpointError         weights or a checkpoint folder that do not fit
    ├── BundleError             a bundle that is incomplete, changed or unknown
    ├── ExportError             an export that cannot be made or breaks a lint rule
    ├── ParityError             artifacts that do not compute what the trained model computes
    └── MissingDependencyError  (also ImportError)  an extra that is not installed

Each message is one line that names the thing, its value and what is allowed. The command line
prints that line on stderr and exits 1; anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 2000


class PeDeployError(Exception):
    r"""Base of every error that pe_deploy raises on purpose.

    Its message is one line that any terminal can show, whatever a file brings into it: what is
    not printable is escaped, and what goes beyond 2000 characters is cut.

    >>> print(PeDeployError("two\nlines"))
    two\nlines
    """

    def __init__(self, message: str = "") -> None:
        shown = printable(message[: _LONGEST + 1])
        super().__init__(shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…")


def printable(text: str) -> str:
    """The text in one line that any terminal can show: what is not printable is escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def line_of(error: object, most: int = 300) -> str:
    """The text of another library's error in one line; its class, where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class _RowError(PeDeployError):
    """Where one row is to blame, its number, counted from 0, begins the message.

    `reason` is the message without it, so that a reader of files can name the row of the file.
    """

    def __init__(self, reason: str, *, row: int | None = None) -> None:
        super().__init__(reason if row is None else f"row {row}: {reason}")
        self.reason = reason
        self.row = row


class InvalidInputError(_RowError, ValueError):
    """An input or a setting outside its allowed range.

    Where one row of an input is to blame, `row` is its number, counted from 0.

    >>> from pe_deploy import ModelConfig
    >>> ModelConfig(vocab_size=0, max_length=10)
    Traceback (most recent call last):
    pe_deploy.errors.InvalidInputError: vocab_size is 0; allowed: a whole number, 1 to 2147483647
    """


class PredictionError(_RowError):
    """A valid input that gets no answer: the logits are not finite, the engine fails, or the
    classifier was closed. `row` is as in `InvalidInputError`.

    >>> print(PredictionError("the logit is nan", row=7))
    row 7: the logit is nan
    """


class DataError(PeDeployError):
    """A data file that cannot be read as rows of `input_ids` (and `label`).

    >>> from pe_deploy.data import load
    >>> load("rows.xlsx")
    Traceback (most recent call last):
    pe_deploy.errors.DataError: rows.xlsx: suffix '.xlsx'; save it as 'CSV UTF-8'; allowed: ...
    """


class CheckpointError(PeDeployError):
    """A checkpoint or a state_dict that is incomplete, damaged or of another shape.

    >>> from pe_deploy.training import load_checkpoint
    >>> load_checkpoint("checkpoints/none")
    Traceback (most recent call last):
    pe_deploy.errors.CheckpointError: checkpoints/none: no such file or folder
    """


class BundleError(PeDeployError):
    """A bundle that is incomplete, changed since it was published, or of an unknown format.

    >>> from pe_deploy import open_bundle
    >>> open_bundle("models/none")
    Traceback (most recent call last):
    pe_deploy.errors.BundleError: models/none is not a folder; ...
    """


class ExportError(PeDeployError):
    """An export that cannot be made, or whose graph breaks a lint rule.

    >>> from pe_deploy.export import export
    >>> export("weights.pt", "models")
    Traceback (most recent call last):
    pe_deploy.errors.ExportError: models is there and is not a bundle; choose another place: ...
    """


class ParityError(PeDeployError):
    """Two predictors that should be the same model, and are not.

    >>> from pathlib import Path
    >>> from pe_deploy.parity import Tolerance, load_report
    >>> report = load_report(Path("models/demo/parity.json"))
    >>> report.judged_by(Tolerance(atol=0.0)).raise_if_failed()
    Traceback (most recent call last):
    pe_deploy.errors.ParityError: ...
    """


class MissingDependencyError(PeDeployError, ImportError):
    """A package that belongs to an extra, and is not installed.

    >>> with requires_extra("train"):
    ...     import a_package_that_is_not_there
    Traceback (most recent call last):
    pe_deploy.errors.MissingDependencyError: a_package_that_is_not_there is not installed; run: ...
    """

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


@contextmanager
def requires_extra(extra: str) -> Iterator[None]:
    """Turn a failed import inside the block into one line that says what to install.

    Raises:
        MissingDependencyError: naming the missing package and the pip command that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "pe_deploy":
            raise
        package = error.name.split(".")[0]
        raise MissingDependencyError(
            f"{package} is not installed; run: pip install 'pe-deploy[{extra}]'", name=package
        ) from error


@contextmanager
def errors_as(
    kind: type[PeDeployError], where: str = "", raised: type[Exception] = ValueError
) -> Iterator[None]:
    """Turn what is raised inside the block, as by a reader in storage, into an error of the tree.

    Its line begins with `where`.
    """
    try:
        yield
    except raised as error:
        raise kind(where + str(error)) from error
