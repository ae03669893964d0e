"""What `predict` does beyond a file of this machine: folders of files, and URIs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from pe_deploy.cli.console import err, out, share_of
from pe_deploy.data import Columns
from pe_deploy.data.uri import is_uri
from pe_deploy.errors import DataError, InvalidInputError, requires_extra
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import OnError

if TYPE_CHECKING:
    from pe_deploy.scale.folder import FolderResult
    from pe_deploy.scale.places import Place

Engine = Literal["local", "ray", "spark"]


def is_many(source: str) -> bool:
    """Whether INPUT is a folder of files."""
    return _place(source).is_folder() if is_uri(source) else Path(source).is_dir()


def shown_place(given: str) -> str:
    """It as it may be printed: a URI without credentials."""
    return str(_place(given)) if is_uri(given) else given


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """A copy of a file on this machine, whose errors name the URI."""
    place = _place(uri)
    with place.fetched() as copy:
        try:
            yield copy
        except DataError as error:
            raise DataError(str(error).replace(str(copy), str(place))) from error


@contextmanager
def written(uri: str) -> Iterator[Path]:
    """A file to write, which then appears whole where the URI says."""
    with _place(uri).written() as whole:
        yield whole


def answer_folder(
    source: str,
    output: str | None,
    opened: Callable[[], OnnxClassifier],
    columns: Columns,
    delimiter: str | None,
    on_error: OnError,
    jobs: int | None,
    engine: Engine,
    overwrite: bool,
) -> None:
    """Answer each file of a folder; exit 1 where one was not.

    Raises:
        InvalidInputError: there is no output, or it is standard output.
    """
    if output is None or output in ("-", "/dev/stdout"):
        raise InvalidInputError("--output is none; allowed with a folder: another folder, or a URI")
    with requires_extra("cli"):
        from pe_deploy.scale.folder import predict_folder
    started = time.perf_counter()
    name = shown_place(source)
    with opened() as classifier, share_of(f"predict {name}") as progress:
        result = predict_folder(
            classifier,
            source,
            output,
            engine=engine,
            jobs=jobs,
            columns=columns,
            delimiter=delimiter,
            on_error=on_error,
            overwrite=overwrite,
            note=_note,
            progress=progress,
        )
    summary = _summary(result, time.perf_counter() - started)
    out.print(f"{summary} → {shown_place(output)}", markup=False, soft_wrap=True)
    if result.failures:
        raise typer.Exit(1)


def _note(line: str) -> None:
    err.print(f"pe-deploy: {line}", markup=False, soft_wrap=True)


def _summary(result: FolderResult, seconds: float) -> str:
    parts = [f"{_files(result.files)}, {result.rows:,} rows"]
    if result.errors:
        parts.append(f"{result.errors:,} without an answer")
    if result.cut:
        parts.append(f"{result.cut:,} {'text' if result.cut == 1 else 'texts'} cut")
    if result.kept:
        parts.append(f"{result.kept:,} kept")
    if result.failures:
        parts.append(f"{len(result.failures):,} failed")
    if result.left_out:
        parts.append(f"{len(result.left_out):,} left out")
    return f"{', '.join(parts)} in {seconds:.1f} s"


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def _place(uri: str) -> Place:
    with requires_extra("cli"):
        from pe_deploy.scale.places import Place
    return Place(uri)
