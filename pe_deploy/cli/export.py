"""`pe-deploy export`: a checkpoint, weights, or any module with its file, to a proved bundle."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pe_deploy.cli.console import counted, facts, out, table
from pe_deploy.cli.shared_options import (
    DELIMITER,
    DROP_MISSING,
    IDS_COLUMN,
    LABEL_COLUMN,
    TEXT_COLUMN,
)
from pe_deploy.cli.text_options import (
    LOWERCASE,
    NFC,
    TOKENIZER,
    TRUNCATE,
    UNKNOWN_ID,
    normalizer_of,
    tokenizer_given,
)
from pe_deploy.config import CompactDtype, Label, Task, Weights
from pe_deploy.data import Columns, DataFile
from pe_deploy.data.columns import LABEL
from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.render import losses_table
from pe_deploy.text.spec import Truncation

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
    ids_column: Annotated[str | None, IDS_COLUMN] = None,
    text_column: Annotated[str | None, TEXT_COLUMN] = None,
    label_column: Annotated[str, LABEL_COLUMN] = LABEL,
    delimiter: Annotated[str | None, DELIMITER] = None,
    drop_missing: Annotated[bool, DROP_MISSING] = False,
    tokenizer: Annotated[str | None, TOKENIZER] = None,
    truncate: Annotated[Truncation | None, TRUNCATE] = None,
    unknown_id: Annotated[int | None, UNKNOWN_ID] = None,
    lowercase: Annotated[bool, LOWERCASE] = False,
    nfc: Annotated[bool, NFC] = False,
    formats: Annotated[
        str, typer.Option("--format", help="Of onnx, torchscript and c, separated by commas.")
    ] = "onnx,torchscript",
    opset: Annotated[int, typer.Option(help="The ONNX operator set.")] = 18,
    weights: Annotated[Weights, typer.Option(help="Of a checkpoint folder.")] = "best",
    sign: Annotated[
        Path | None, typer.Option(help="Sign with this elliptic-curve key (a PEM file).")
    ] = None,
    throughput: Annotated[
        bool, typer.Option("--throughput/--no-throughput", help="Add the form for large batches.")
    ] = True,
    text_graph: Annotated[
        bool, typer.Option("--text-graph", help="Add model.text.onnx: texts in, for words.")
    ] = False,
    license_id: Annotated[
        str | None, typer.Option("--license", help="For the model card: apache-2.0, mit, ….")
    ] = None,
    compact: Annotated[
        CompactDtype | None, typer.Option(help="Round the weights, for smaller ONNX files.")
    ] = None,
    allow_flips: Annotated[
        float | None,
        typer.Option(help="The share of labels that this may change; of float16 0.001."),
    ] = None,
    c_name: Annotated[str, typer.Option(help="What the names in model.c begin with.")] = "model",
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
        text_graph=text_graph,
        license=license_id,
        crossover=crossover,
        c_name=c_name,
        compact=compact,
        allow_flips=allow_flips,
    )
    columns = Columns(ids_column, text_column, label_column)
    if data is None and (columns, delimiter, drop_missing) != (Columns(), None, False):
        raise InvalidInputError("options on columns and rows of a file are for --data; give it")
    of_weights: dict[str, Any] = {
        "pad_id": pad_id,
        "labels": None if labels is None else _labels(labels),
        "threshold": threshold,
        "data": None if data is None else DataFile(data, columns, delimiter, drop_missing),
    }
    of_a_module: dict[str, Any] = {
        "max_length": max_length,
        "min_length": min_length,
        "vocab_size": vocab_size,
        "task": None if task == "classes" else task,
        "outputs": None if outputs == "logits" else outputs,
    }
    of_texts: dict[str, Any] = {
        "tokenizer": tokenizer_given(tokenizer, pad_id, unknown_id, normalizer_of(lowercase, nfc)),
        "truncation": truncate,
    }
    with _chatter(shown=debug):
        if is_target(source):
            stated = {k: v for k, v in {**of_weights, **of_a_module}.items() if v is not None}
            exported = _of_a_module(
                source, module_weights, arg or (), output, options, {**stated, **of_texts}
            )
        else:
            given = [f"--{k.replace('_', '-')}" for k, v in of_a_module.items() if v is not None]
            given += [*(["--arg"] if arg else []), *(["WEIGHTS"] if module_weights else [])]
            if given:
                raise InvalidInputError(
                    f"SOURCE is {source}, of which that is known; allowed with "
                    f"{', '.join(given)}: model.py:NAME"
                )
            exported = _of_a_checkpoint(
                source, output, options, {"weights": weights, **of_weights, **of_texts}
            )
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
    if report.losses:
        table(*losses_table(report))


def _of_a_checkpoint(
    checkpoint: str, output: Path, options: ExportOptions, stated: Mapping[str, Any]
) -> Exported:
    from pe_deploy.export import export as export_checkpoint

    with counted("export and compare") as progress:
        return export_checkpoint(checkpoint, output, options, progress=progress, **stated)


def _of_a_module(
    target: str,
    weights: Path | None,
    arguments: Sequence[str],
    output: Path,
    options: ExportOptions,
    stated: Mapping[str, Any],
) -> Exported:
    from pe_deploy.export import export_module
    from pe_deploy.export.adapt.loading import load_module

    loaded = load_module(target, weights, arguments)
    with counted("export and compare") as progress:
        return export_module(loaded, output, options, progress=progress, **stated)


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
