"""`pe-deploy train`: the notebook's job, on its random rows, a built-in set, or your file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pe_deploy.cli.console import facts, progress_bar, table
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
    TRUNCATE,
    UNKNOWN_ID,
    normalizer_of,
    tokenizer_given,
)
from pe_deploy.data import Columns, DataFile
from pe_deploy.data.columns import LABEL
from pe_deploy.errors import InvalidInputError
from pe_deploy.model_config import ModelConfig, Schedule, TrainConfig
from pe_deploy.text.reading import is_kind
from pe_deploy.text.spec import Truncation

if TYPE_CHECKING:
    from pe_deploy.text.tokenizer import Tokenizer
    from pe_deploy.training import Progress, TrainResult


def train(
    data: Annotated[str, typer.Argument(help="synthetic, digits, languages, or a data file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The checkpoint; by default checkpoints/DATA."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a killed or finished run stopped.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = TrainConfig.epochs,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = TrainConfig.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = TrainConfig.learning_rate,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = TrainConfig.seed,
    shuffle: Annotated[
        bool | None,
        typer.Option(help="A new order each epoch; by default for all but synthetic."),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the rows held back.")
    ] = TrainConfig.validation_fraction,
    update_gate_bias: Annotated[
        float, typer.Option(help="Added to each update gate at first: states are kept longer.")
    ] = TrainConfig.update_gate_bias,
    weight_decay: Annotated[
        float, typer.Option(help="Of AdamW; with 0 it is Adam.")
    ] = TrainConfig.weight_decay,
    schedule: Annotated[
        Schedule, typer.Option(help="cosine: up over a tenth of the steps, then down to 0.")
    ] = TrainConfig.schedule,
    bucket_by_length: Annotated[
        bool, typer.Option("--bucket-by-length", help="Rows of about one length in a batch.")
    ] = TrainConfig.bucket_by_length,
    crop: Annotated[
        float, typer.Option(help="Chance that a training row is cut to a part of it.")
    ] = TrainConfig.crop,
    noise: Annotated[
        float, typer.Option(help="Share of the training ids that are hidden.")
    ] = TrainConfig.noise,
    embedding_dim: Annotated[
        int, typer.Option(help="Size of the token and position vectors.")
    ] = ModelConfig.embedding_dim,
    hidden_dim: Annotated[
        int, typer.Option(help="Size of the GRU's state.")
    ] = ModelConfig.hidden_dim,
    num_layers: Annotated[int, typer.Option(help="GRU layers.")] = ModelConfig.num_layers,
    dropout: Annotated[float, typer.Option(help="Between GRU layers.")] = ModelConfig.dropout,
    vocab_size: Annotated[int | None, typer.Option(help="By default the highest id + 1.")] = None,
    max_length: Annotated[int | None, typer.Option(help="By default the longest row.")] = None,
    pad_id: Annotated[int | None, typer.Option(help="The id that pads rows on the right.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Train on texts: bytes; words or characters, of which a vocabulary is made; or a "
            "tokenizer.json or a vocabulary."
        ),
    ] = None,
    ids_column: Annotated[str | None, IDS_COLUMN] = None,
    text_column: Annotated[str | None, TEXT_COLUMN] = None,
    label_column: Annotated[str, LABEL_COLUMN] = LABEL,
    delimiter: Annotated[str | None, DELIMITER] = None,
    drop_missing: Annotated[bool, DROP_MISSING] = False,
    min_count: Annotated[
        int, typer.Option(help="How often words or characters stand in the training texts.")
    ] = 1,
    truncate: Annotated[Truncation | None, TRUNCATE] = None,
    unknown_id: Annotated[int | None, UNKNOWN_ID] = None,
    lowercase: Annotated[bool, LOWERCASE] = False,
    nfc: Annotated[bool, NFC] = False,
) -> None:
    """Train a classifier and leave a checkpoint; every default is the notebook's."""
    config = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        # The notebook keeps one order, and `synthetic` repeats the notebook.
        shuffle=data != "synthetic" if shuffle is None else shuffle,
        validation_fraction=validation_fraction,
        update_gate_bias=update_gate_bias,
        weight_decay=weight_decay,
        schedule=schedule,
        bucket_by_length=bucket_by_length,
        crop=crop,
        noise=noise,
    )
    columns = Columns(ids_column, text_column, label_column)
    file = DataFile(data, columns, delimiter, drop_missing)
    source = data if data in ("synthetic", "languages") else file
    normalizer = normalizer_of(lowercase, nfc)
    made: str | Tokenizer | None = tokenizer
    if tokenizer is None or not is_kind(tokenizer):
        made = tokenizer_given(tokenizer, pad_id, unknown_id, normalizer)
        pad_id, normalizer = (pad_id if made is None else None), ()
    elif unknown_id is not None:
        raise InvalidInputError(f"--unknown-id is for a vocabulary in a file, not for {tokenizer}")
    from pe_deploy.training import train as run
    from pe_deploy.training.show import epochs_table

    with epochs_shown() as progress:
        result = run(
            source,
            output or Path("checkpoints") / Path(data).name,
            train_config=config,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            dropout=dropout,
            vocab_size=vocab_size,
            max_length=max_length,
            pad_id=pad_id,
            tokenizer=made,
            truncation=truncate,
            min_count=min_count,
            normalizer=normalizer,
            resume=resume,
            progress=progress,
        )
    table(*epochs_table(result.metrics, result.best))
    shift = result.shift
    moved = (
        f"yes: {shift.mean:.3g} on average, at most {shift.max:.3g} (position {shift.position})"
        if shift.moved
        else "no"
    )
    facts(
        f"Checkpoint {result.output}",
        [
            ("rows", f"{result.train_rows} to train on, {result.validation_rows} to validate on"),
            *_rights(result),
            ("positions moved", moved),
            ("picture", result.output / "positions.png"),
            *(("note", note) for note in result.notes),
        ],
    )


def _rights(result: TrainResult) -> list[tuple[str, str]]:
    best, last = result.best, result.last
    if best.val_accuracy is None or last.val_accuracy is None:
        return [("last epoch", f"{last.accuracy:.1%} of the training rows right")]
    return [
        ("last epoch", f"{last.val_accuracy:.1%} of the validation rows right"),
        ("best epoch", f"{best.val_accuracy:.1%} right (epoch {best.epoch}, lowest loss)"),
    ]


@contextmanager
def epochs_shown() -> Iterator[Callable[[Progress], None]]:
    """A progress bar over all batches that shows the newest losses; yields what moves it."""
    with progress_bar() as bar:
        task = bar.add_task("train", total=None)

        def move(at: Progress) -> None:
            done = (at.epoch - 1) * at.batches + at.batch
            bar.update(task, total=at.epochs * at.batches, completed=done)
            if at.metrics is not None:
                right = at.metrics.val_accuracy
                validated = "" if right is None else f", validation {right:.1%}"
                bar.update(task, description=f"train {at.epoch}/{at.epochs}{validated}")

        yield move
