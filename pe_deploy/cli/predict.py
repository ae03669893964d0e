"""`pe-deploy predict`: label a file of any size, in constant memory, or a few texts."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Literal

import typer

from pe_deploy.cli.console import err, out, share_of
from pe_deploy.cli.predict_elsewhere import (
    Engine,
    answer_folder,
    fetched,
    is_many,
    shown_place,
    written,
)
from pe_deploy.cli.shared_options import DELIMITER, IDS_COLUMN, PUBLIC_KEY, TEXT_COLUMN
from pe_deploy.data import Columns, open_rows
from pe_deploy.data.plain_file import TextsReader
from pe_deploy.data.reader import READ_ROWS, How, RowReader
from pe_deploy.data.suffix import suffix_of
from pe_deploy.data.text_reader import cells_of
from pe_deploy.data.uri import is_uri
from pe_deploy.errors import DataError, InvalidInputError, printable
from pe_deploy.runtime import Classifier, OnnxClassifier
from pe_deploy.runtime.predict_file import OnError, Predicted, answers, predict_rows
from pe_deploy.text.spec import Truncation

InputFormat = Literal["csv", "tsv", "jsonl", "json", "txt", "parquet", "npz", "npy"]

_STDIN = ("-", "/dev/stdin")
_STDOUT = ("-", "/dev/stdout")


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A .csv, .tsv, .jsonl, .json or .txt file, maybe .gz, or a .parquet, .npz or .npy "
            "file, or a folder of such; or its URI (s3://, gs://, hdfs://); - is standard input, "
            "by default a text a line.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Where to write, in the format of INPUT, or the folder or URI for that; "
            "- is standard output. Texts are printed without it.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text to answer, in place of INPUT; repeatable.")
    ] = None,
    input_format: Annotated[
        InputFormat | None, typer.Option(help="What INPUT is, where its suffix does not say it.")
    ] = None,
    ids_column: Annotated[str | None, IDS_COLUMN] = None,
    text_column: Annotated[str | None, TEXT_COLUMN] = None,
    delimiter: Annotated[str | None, DELIMITER] = None,
    truncate: Annotated[
        Truncation | None,
        typer.Option(help="Cut texts that are too long, at this end."),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="What a row without an answer does: refuse the file, or have null for an answer "
            "and the reason in a column error."
        ),
    ] = "fail",
    threshold: Annotated[
        float | None, typer.Option(help="Decide at this probability, not at the bundle's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="How many threads; by default, what it may use.")
    ] = None,
    build: Annotated[
        Path | None,
        typer.Option(help="Answer by this build of the bundle's C, which pe-deploy build made."),
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Files of a folder at once; by default one a processor.")
    ] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="What answers the files of a folder; by default local.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Answer files of a folder again, all of them.")
    ] = False,
) -> None:
    """Write INPUT's rows, in their order, with the model's answers added.

    These are a label and its probability, or what the model's task asks for. A file that has a
    column of that name keeps it; the added one is then called predicted_label, and so on. Of a
    folder each file is answered into one of the same name.
    """
    if (source is None) == (not text):
        raise typer.BadParameter("give either INPUT or --text")
    if source is not None and is_many(source):
        if input_format is not None:
            raise typer.BadParameter("--input-format is for one file")
        if build is not None:
            raise typer.BadParameter("--build is for one file")
        answer_folder(
            source,
            output,
            lambda: OnnxClassifier(
                bundle,
                num_threads=1 if threads is None else threads,
                threshold=threshold,
                public_key=public_key,
                truncation=truncate,
            ),
            Columns(ids_column, text_column),
            delimiter,
            on_error,
            jobs,
            engine or "local",
            overwrite,
        )
        return
    if jobs is not None or engine is not None or overwrite:
        raise typer.BadParameter("--jobs, --engine and --overwrite are for a folder")
    started = time.perf_counter()
    how = How(READ_ROWS, Columns(ids_column, text_column), delimiter, on_error == "null")
    opening = OnnxClassifier if build is None else _built(build)
    with (
        opening(
            bundle,
            num_threads=threads,
            threshold=threshold,
            public_key=public_key,
            truncation=truncate,
        ) as classifier,
        _opened(source, text or [], input_format, how, classifier.takes_text) as reader,
    ):
        if output is None:
            _check_printable(reader)
            _print_answers(classifier, reader)
            return
        name = "texts" if source is None else PurePath(source).name
        with (
            _replaceable(output, reader.allowed_suffixes[0]) as writable,
            share_of(f"predict {name}") as progress,
        ):
            done = predict_rows(classifier, reader, writable, progress)
        cut = classifier.truncated
    summary = _summary(done, cut, time.perf_counter() - started)
    console = err if output in _STDOUT else out
    console.print(f"{summary} → {shown_place(output)}", markup=False, soft_wrap=True)


def _built(build: Path) -> Callable[..., Classifier]:
    from pe_deploy.runtime.native import NativeClassifier

    return partial(NativeClassifier, build=build)


def _summary(done: Predicted, cut: int, seconds: float) -> str:
    without = f", {done.errors:,} without an answer" if done.errors else ""
    truncated = f", {cut:,} {'text' if cut == 1 else 'texts'} cut" if cut else ""
    return f"{done.rows:,} rows{without}{truncated} in {seconds:.1f} s"


def _check_printable(reader: RowReader) -> None:
    if suffix_of(reader.path) not in ("", ".txt"):
        raise InvalidInputError("no --output is given; allowed without: --text, or lines of text")


def _print_answers(classifier: Classifier, reader: RowReader) -> None:
    """Print each answer before its text, once all are there."""
    lines = []
    for chunk, added in answers(classifier, reader):
        columns = [cells_of(column) for column in added.values()]
        for text, *cells in zip(chunk.texts or (), *columns, strict=True):
            lines.append("\t".join([*map(_shown, cells), printable(text)]))
    for line in lines:
        typer.echo(line)  # rich would make spaces of tabs


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return printable(";".join(map(_shown, cell)) if isinstance(cell, list) else str(cell))


@contextmanager
def _opened(
    source: str | None,
    texts: list[str],
    input_format: InputFormat | None,
    how: How,
    takes_text: bool,
) -> Iterator[RowReader]:
    """The rows of INPUT, or of the texts that are given in its place."""
    if source is None:
        yield TextsReader(texts, how)
        return
    if input_format is None and source in _STDIN and takes_text:
        input_format = "txt"
    with (
        _seekable(source, input_format) as readable,
        open_rows(
            readable,
            columns=how.columns,
            delimiter=how.delimiter,
            tolerant=how.tolerant,
        ) as reader,
    ):
        yield reader


@contextmanager
def _seekable(given: str, input_format: InputFormat | None) -> Iterator[Path]:
    """INPUT as a file with a suffix: itself, or a temporary copy of what comes from elsewhere."""
    if is_uri(given):
        with fetched(given) as copy:
            yield copy
        return
    standard = given in _STDIN
    source = Path(given)
    if input_format is None and not (standard or source.is_fifo()):
        yield source
        return
    suffix = suffix_of(source) if input_format is None else f".{input_format}"
    if not suffix:
        raise DataError(f"{source}: its suffix does not say what it is; give --input-format")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"input{suffix}"
        with (
            nullcontext(sys.stdin.buffer) if standard else source.open("rb") as stream,
            copy.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file)
        try:
            yield copy
        except DataError as error:
            raise DataError(str(error).replace(str(copy), str(source))) from error


@contextmanager
def _replaceable(given: str, suffix: str) -> Iterator[Path]:
    """The output as a file that can appear whole: itself, or one that goes elsewhere then."""
    if is_uri(given):
        with written(given) as whole:
            yield whole
        return
    standard = given in _STDOUT
    output = Path(given)
    if not (standard or output.is_fifo() or output.is_char_device()):
        yield output
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"output{suffix}"
        yield whole
        with (
            whole.open("rb") as file,
            nullcontext(sys.stdout.buffer) if standard else output.open("wb") as taken,
        ):
            shutil.copyfileobj(file, taken)
