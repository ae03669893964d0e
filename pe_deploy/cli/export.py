"""`pe-deploy export`: a checkpoint, weights, or any module with its file, to a proved bundle."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pe_deploy.cli.console import counted, facts, out
from pe_deploy.config import Label, Task, Weights
from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from pe_deploy.export import Exported, ExportOptions

Outputs = Literal["logits", "probabilities"]


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A checkpoint folder; weights of the notebook's architecture; or model.py:NAME, a "
            "module, class or function in a file of yours, which is run as you.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to publish.")],
    module_weights: Annotated[
        Path | None,
        typer.Argument(metavar="[WEIGHTS]", help="Of model.py:NAME, which may bring its own."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="The most ids of a row, where no table bounds it.")
    ] = None,
    min_length: Annotated[
        int | None, typer.Option(help="The fewest; by default the fewest that the module takes.")
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="Ids run from 0 to one less; by default of the embedding.")
    ] = None,
    pad_id: Annotated[
        int | None, typer.Option(help="The id that fills short rows, and changes no answer.")
    ] = None,
    task: Annotated[Task, typer.Option(help="What an answer is.")] = "classes",
    labels: Annotated[
        str | None, typer.Option(help="Separated by commas, or a file with one on each line.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="The probability above which a label is the answer.")
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="key=value for the class or function; repeatable.")
    ] = None,
    outputs: Annotated[Outputs, typer.Option(help="What the module ends in.")] = "logits",
    data: Annotated[
        Path | None, typer.Option(help="Held-out rows with labels, to judge decisions on.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="What to make, separated by commas.")
    ] = "onnx,torchscript",
    opset: Annotated[int, typer.Option(help="The ONNX operator set.")] = 18,
    weights: Annotated[Weights, typer.Option(help="Of a checkpoint folder.")] = "best",
    sign: Annotated[
        Path | None, typer.Option(help="Sign with this elliptic-curve key (a PEM file).")
    ] = None,
    throughput: Annotated[
        bool, typer.Option("--throughput/--no-throughput", help="Add the form for large batches.")
    ] = True,
    crossover: Annotated[
        int | None, typer.Option(help="Rows from which to run it; by default this is measured.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what torch has to say meanwhile.")
    ] = False,
) -> None:
    """Export SOURCE; publish it only if every artifact computes what torch computes."""
    from pe_deploy.export import ExportOptions
    from pe_deploy.export.adapt.loading import is_target

    options = ExportOptions(
        formats=[name.strip() for name in formats.split(",")],
        opset=opset,
        sign=sign,
        throughput=throughput,
        crossover=crossover,
    )
    stated = {
        "--max-length": max_length,
        "--min-length": min_length,
        "--vocab-size": vocab_size,
        "--pad-id": pad_id,
        "--task": None if task == "classes" else task,
        "--labels": labels,
        "--threshold": threshold,
        "--arg": arg,
        "--outputs": None if outputs == "logits" else outputs,
        "--data": data,
    }
    with _chatter(shown=debug):
        if is_target(source):
            exported = _of_a_module(source, module_weights, output, options, stated)
        else:
            given = [name for name, value in stated.items() if value is not None]
            if module_weights is not None or given:
                what = ", ".join([*given, *(["WEIGHTS"] if module_weights else [])])
                raise InvalidInputError(
                    f"SOURCE is {source}, of which everything is known; allowed with {what}: "
                    "model.py:NAME"
                )
            exported = _of_a_checkpoint(source, output, options, weights)
    for note in exported.notes:
        out.print(note, markup=False, soft_wrap=True)
    manifest, report = exported.bundle.manifest, exported.report
    facts(
        f"Published {output}",
        [
            *((name, f"{record.size:,} bytes") for name, record in manifest.files.items()),
            ("parity", f"{len(report.cells)} cells, worst difference {report.worst:.2g}"),
        ],
    )


def _of_a_checkpoint(
    checkpoint: str, output: Path, options: ExportOptions, weights: Weights
) -> Exported:
    from pe_deploy.export import export as export_checkpoint

    with counted("export and compare") as progress:
        return export_checkpoint(checkpoint, output, options, weights=weights, progress=progress)


def _of_a_module(
    target: str,
    weights: Path | None,
    output: Path,
    options: ExportOptions,
    stated: Mapping[str, Any],
) -> Exported:
    from pe_deploy.export import export_module
    from pe_deploy.export.adapt.loading import load_module

    loaded = load_module(target, weights, stated["--arg"] or ())
    labels = stated["--labels"]
    with counted("export and compare") as progress:
        return export_module(
            loaded,
            output,
            options,
            vocab_size=stated["--vocab-size"],
            max_length=stated["--max-length"],
            min_length=stated["--min-length"],
            pad_id=stated["--pad-id"],
            task=stated["--task"] or "classes",
            labels=None if labels is None else _labels(labels),
            threshold=stated["--threshold"],
            outputs=stated["--outputs"] or "logits",
            data=stated["--data"],
            progress=progress,
        )


def _labels(text: str) -> list[Label]:
    """Labels as they stand in a file, one a line, or in the text; plain integers if all are."""
    path = Path(text)
    found = path.read_text("utf-8").splitlines() if path.is_file() else text.split(",")
    names = [name.strip() for name in found if name.strip()]
    plain = all(re.fullmatch("0|-?[1-9][0-9]*", name) for name in names)
    return [int(name) for name in names] if plain else list(names)


@contextmanager
def _chatter(shown: bool) -> Iterator[None]:
    """Leave out the warnings and the log of torch and its exporter, unless they are wanted."""
    if shown:
        yield
        return
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
