"""`pe-deploy predict`: label a file of any size, in constant memory."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from pe_deploy.cli.console import err, out, share_of
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.errors import DataError
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import predict_file

InputFormat = Literal["csv", "jsonl", "parquet", "npz"]

_STDIN = (Path("-"), Path("/dev/stdin"))
_STDOUT = (Path("-"), Path("/dev/stdout"))


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="A .csv, .jsonl, .parquet or .npz file; - is standard input."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Where to write; same suffix as INPUT; - is standard output."
        ),
    ],
    input_format: Annotated[
        InputFormat | None, typer.Option(help="What INPUT is, where its suffix does not say it.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Decide at this probability, not at the bundle's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of onnxruntime; by default, what it may use.")
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Write INPUT's rows, in their order, with the model's answers added.

    These are a label and its probability, or what the model's task asks for. A file that has a
    column of that name keeps it; the added one is then called predicted_label, and so on.
    """
    started = time.perf_counter()
    with (
        OnnxClassifier(
            bundle, num_threads=threads, threshold=threshold, public_key=public_key
        ) as classifier,
        _seekable(source, input_format) as readable,
        _replaceable(output, readable.suffix) as writable,
        share_of(f"predict {source.name}") as progress,
    ):
        count = predict_file(classifier, readable, writable, progress)
    seconds = time.perf_counter() - started
    console = err if output in _STDOUT else out
    console.print(f"{count:,} rows in {seconds:.1f} s → {output}", markup=False, soft_wrap=True)


@contextmanager
def _seekable(source: Path, input_format: InputFormat | None) -> Iterator[Path]:
    """INPUT as a file with a suffix: itself, or a temporary copy of what comes through a pipe."""
    standard = source in _STDIN
    if input_format is None and not (standard or source.is_fifo()):
        yield source
        return
    suffix = source.suffix if input_format is None else f".{input_format}"
    if not suffix:
        raise DataError(f"{source}: its suffix does not say what it is; give --input-format")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"input{suffix}"
        with (
            nullcontext(sys.stdin.buffer) if standard else source.open("rb") as given,
            copy.open("wb") as file,
        ):
            shutil.copyfileobj(given, file)
        try:
            yield copy
        except DataError as error:
            raise DataError(str(error).replace(str(copy), str(source))) from error


@contextmanager
def _replaceable(output: Path, suffix: str) -> Iterator[Path]:
    """The output as a file that can appear whole: itself, or one that goes into a pipe then."""
    standard = output in _STDOUT
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
