"""Training: the notebook's loop, repeatable from its seed and resumable after any epoch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from pe_deploy.config import Label
from pe_deploy.data import NOTEBOOK_LENGTH, NOTEBOOK_VOCAB_SIZE, DataFile, Dataset
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import CheckpointError, InvalidInputError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.storage import atomic
from pe_deploy.text.spec import Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.training import checkpoint
from pe_deploy.training.epoch import EpochMetrics, best_of, run_epoch
from pe_deploy.training.model import GRUClassifier, in_memory, keep_states_longer
from pe_deploy.training.positions import (
    PositionShift,
    Table,
    plot_positions,
    save_positions,
    shift_between,
)
from pe_deploy.training.resume import RunState, identity_of, load_run, run_to_bytes
from pe_deploy.training.schedule import optimizer_of
from pe_deploy.training.show import epochs_table, picture
from pe_deploy.training.sources import (
    Prepared,
    Source,
    check_rows,
    draw_synthetic,
    hold_back,
    prepare,
    sizes_of,
)
from pe_deploy.training.state_dict import tensors_to_bytes
from pe_deploy.training.texts import TextOptions
from pe_deploy.training.threads import torch_threads
from pe_deploy.view import html
from pe_deploy.view.progress import expect, shown

_NOTEBOOK = TrainConfig()

# batch_size × hidden_dim, up to which a second thread brings too little. Measured on 2 cores at
# 128 × 192: an epoch takes 1.5 times as long with one thread as with two if nothing else runs, and
# a tenth as long (4 s, not 41) if the cores are busy, since torch's threads wait for each other.
_ONE_THREAD_UP_TO = 65_536


@dataclass(frozen=True)
class Progress:
    """Where training is: after a batch, or, with `metrics`, after an epoch has been saved."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    metrics: EpochMetrics | None = None

    @property
    def note(self) -> str:
        """Where that is, in a few words for a bar."""
        of = f"epoch {self.epoch} of {self.epochs}"
        validated = None if self.metrics is None else self.metrics.val_accuracy
        return of if validated is None else f"{of}, validation {validated:.1%}"


@dataclass(frozen=True)
class TrainResult:
    """What a finished run has to show.

    Attributes:
        output: the checkpoint folder.
        model_config: the model's sizes.
        train_config: how it was trained.
        labels: the label of each class.
        train_rows: how many rows it was trained on.
        validation_rows: how many rows it was validated on; 0 where it was not.
        metrics: of every epoch, in order.
        shift: how far the positional table moved up to the last epoch.
        positions: the table before training and after the last epoch, each float32
            `[max_length, embedding_dim]`.
        notes: a line on each thing that is not as one might expect.
    """

    output: Path
    model_config: ModelConfig
    train_config: TrainConfig
    labels: tuple[Label, ...]
    train_rows: int
    validation_rows: int
    metrics: tuple[EpochMetrics, ...]
    shift: PositionShift
    positions: tuple[Table, Table] = field(compare=False)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        best, last = self.best, self.last
        right = f"{last.accuracy:.1%} of the training rows right, none to validate on"
        if best.val_accuracy is not None:
            right = (
                f"best epoch {best.epoch}: {best.val_accuracy:.1%} of {self.validation_rows:,} "
                "validation rows right"
            )
        return (
            f"<TrainResult {self.output}: {last.epoch} epochs on {self.train_rows:,} rows, "
            f"loss {self.metrics[0].mean_loss:.3g} → {last.mean_loss:.3g}\n"
            f"  {right}; positions moved by {self.shift.mean:.2g} on average>"
        )

    def _repr_html_(self) -> str:
        title, *lines = repr(self)[1:-1].splitlines()
        return html.page(
            title,
            *map(html.line, lines),
            html.picture(picture(self.metrics, *self.positions), "loss, and positions"),
            html.table(*epochs_table(self.metrics, self.best)),
            *map(html.line, self.notes),
        )

    @property
    def last(self) -> EpochMetrics:
        """The last epoch, whose weights are in `last.safetensors`."""
        return self.metrics[-1]

    @property
    def best(self) -> EpochMetrics:
        """The epoch whose weights are in `model.safetensors`: of the lowest validation loss.

        Without validation rows, it is the last.
        """
        return best_of(self.metrics)


def train(
    source: Source,
    output: str | Path,
    *,
    train_config: TrainConfig = _NOTEBOOK,
    embedding_dim: int = 16,
    hidden_dim: int = 32,
    num_layers: int = 2,
    dropout: float = 0.0,
    vocab_size: int | None = None,
    max_length: int | None = None,
    pad_id: int | None = None,
    validation: Dataset | TextDataset | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    truncation: Truncation | None = None,
    min_count: int = 1,
    normalizer: tuple[str, ...] = (),
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train a classifier and leave a checkpoint at `output`.

    One seed, one result: the same call gives the same bytes on the same machine, also when it was
    killed at any moment and called again with `resume`. The caller's torch random state and
    thread count are as before afterwards.

    A checkpoint that is at `output` already stays as it is until the first epoch is saved; then
    this run takes its place, and `config.json` is missing until the run is finished.

    Args:
        source: `"synthetic"` for the notebook's random rows, `"digits"`, `"languages"`, a data
            file, or rows or texts.
        output: the checkpoint folder: new, empty, or a former checkpoint to replace.
        train_config: epochs, batch size, learning rate, seed, ….
        embedding_dim: size of the token and position vectors.
        hidden_dim: size of the GRU's state.
        num_layers: how many GRU layers.
        dropout: acts between GRU layers.
        vocab_size: if not given, one more than the largest id (12 for `"synthetic"`). Of words and
            characters, the most that are taken into a vocabulary, all of them if not given.
        max_length: if not given, the length of the longest row (10 for `"synthetic"`).
        pad_id: the id that pads short rows on the right.
        validation: rows or texts to validate on. Without them, a share of `source` is held back;
            for `"synthetic"` a second random set is drawn, as in the notebook. If that share is 0,
            nothing is validated, and the last weights are the best.
        tokenizer: of texts, and then a file is one of texts: "bytes"; "words" or "characters",
            the vocabulary of which is that of the training texts; a file of a tokenizer, or what
            `read_tokenizer` gave.
        truncation: which end of a text that is too long is cut off, "start" or "end"; without it,
            such a text is an error.
        min_count: how often a word or character has to stand in the training texts to be in a
            vocabulary.
        normalizer: what texts go through first: "nfc" and "lower-ascii", of words and characters.
        resume: go on from the last finished epoch at `output`. More `epochs` than at first are
            fine; every other setting and the data must be the same.
        progress: called after every batch and after every epoch; a notebook shows a bar without.
            What it raises ends the run, which can then be resumed.

    Raises:
        InvalidInputError: a setting is out of range or does not go with another, a model of the
            sizes does not fit in memory, a label would not come back from JSON, or the loss stops
            being finite.
        DataError: the rows cannot be read or do not fit the sizes.
        CheckpointError: `output` holds something else than a checkpoint, another process is
            training there, or there is no run of these settings and data to resume.
        OSError: `output` cannot be written; what was saved last is whole, and can be resumed.
        MissingDependencyError: the data or the metrics need an extra that is not installed.

    >>> from pe_deploy import TrainConfig
    >>> from pe_deploy.training import train
    >>> result = train("synthetic", "checkpoints/short", train_config=TrainConfig(epochs=2))
    >>> f"{result.last.loss:.4f}"    # the notebook's, after torch.manual_seed(0)
    '6.7719'
    """
    output = Path(output)
    if not resume:
        checkpoint.check_replaceable(output)
    atomic.check_writable(output / checkpoint.CONFIG_FILE)
    sized = partial(
        ModelConfig,
        embedding_dim=embedding_dim,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        dropout=dropout,
    )
    options = TextOptions(tokenizer, vocab_size, max_length, min_count, normalizer, truncation)
    with torch.random.fork_rng(devices=[]):
        # The notebook draws its training rows, then the weights, then the validation rows.
        torch.manual_seed(train_config.seed)
        notebook = isinstance(source, str) and source == "synthetic"
        if notebook:
            model_config = sized(
                vocab_size=NOTEBOOK_VOCAB_SIZE if vocab_size is None else vocab_size,
                max_length=NOTEBOOK_LENGTH if max_length is None else max_length,
                pad_id=pad_id,
            )
            with in_memory(model_config):
                given = Prepared(draw_synthetic(model_config), None)
        else:
            given = prepare(source, pad_id, validation, train_config, options)
            smallest, longest = sizes_of(given)
            model_config = sized(
                vocab_size=smallest if given.encoder or vocab_size is None else vocab_size,
                max_length=longest if max_length is None else max_length,
                num_classes=1 if len(given.rows.labels) == 2 else len(given.rows.labels),
                pad_id=given.rows.pad_id,
            )
        named = source if isinstance(source, str | Path | DataFile) else "rows"
        check_rows(given.rows, model_config, str(named))
        if train_config.crop and model_config.pad_id is None:
            raise InvalidInputError(
                f"crop is {train_config.crop}; allowed: 0, where no pad_id lets rows be shorter"
            )
        # Now, not when the checkpoint is written: training may take hours.
        checkpoint.decision_of(model_config, given.rows.labels).check(model_config.signature)
        with in_memory(model_config):
            model = GRUClassifier(model_config)
        keep_states_longer(model, train_config.update_gate_bias)
        if notebook and validation is None:
            given = replace(given, validation=draw_synthetic(model_config))
        elif given.validation is not None:
            check_rows(given.validation, model_config, "validation")
        else:
            given = hold_back(given, train_config)
        if not resume:
            output.mkdir(parents=True, exist_ok=True)
        small = hidden_dim * train_config.batch_size <= _ONE_THREAD_UP_TO
        threads = 1 if small else torch.get_num_threads()
        with torch_threads(threads), atomic.sole_writer(output) as alone:
            if not alone:
                raise CheckpointError(f"{output}: another process is training here")
            with shown("train", progress) as told:
                return _train(model, train_config, given, output, resume, told)


def _train(
    model: GRUClassifier,
    config: TrainConfig,
    given: Prepared,
    output: Path,
    resume: bool,
    progress: Callable[[Progress], None] | None,
) -> TrainResult:
    optimizer = optimizer_of(model, config)
    rows, validation = given.rows, given.validation
    identity = identity_of(model.config, config, given)
    if resume:
        state = load_run(output / checkpoint.RESUME_FILE, identity, model, optimizer)
    else:
        state = RunState.before(model)
    done = len(state.metrics)
    if config.epochs < done:
        raise CheckpointError(
            f"{output}: cannot resume with epochs {config.epochs}; "
            f"allowed: at least the {done} that are done"
        )

    decision = checkpoint.decision_of(model.config, rows.labels)
    batches = math.ceil(len(rows) / config.batch_size)

    def report(epoch: int, batch: int, metrics: EpochMetrics | None = None) -> None:
        if progress is not None:
            progress(Progress(epoch, config.epochs, batch, batches, metrics))

    expect(progress, (config.epochs - done) * (batches + 1))
    for epoch in range(done + 1, config.epochs + 1):
        metrics = run_epoch(
            model, optimizer, given, config, decision, epoch, partial(report, epoch)
        )
        state.add(metrics, model, optimizer)
        with atomic.replacing(output / checkpoint.RESUME_FILE) as temporary:
            temporary.write_bytes(run_to_bytes(state, identity))
            if epoch == done + 1:  # not before the disk had room for what takes their place
                checkpoint.remove_results(output)
        _write_metrics(output, state)
        report(epoch, batches, metrics)

    final_positions = model.pos_encoder.positional_encoding.weight.detach().numpy()
    initial_positions = state.initial_positions.numpy()
    # All of it anew even if nothing was left to train: a kill may have come between two files.
    atomic.write_bytes(output / checkpoint.LAST_FILE, tensors_to_bytes(model.state_dict()))
    atomic.write_bytes(output / checkpoint.BEST_FILE, tensors_to_bytes(state.best))
    _write_metrics(output, state)
    save_positions(initial_positions, final_positions, output / checkpoint.POSITIONS_FILE)
    plot_positions(initial_positions, final_positions, output / checkpoint.PLOT_FILE)
    if validation is not None:
        checkpoint.save_validation(output, validation)
    if given.encoder is not None:
        checkpoint.save_text(output, given.encoder, given.validation_texts)
    checkpoint.write_config(
        output,
        model.config,
        config,
        rows.labels,
        validated=validation is not None,
        encoder=given.encoder,
    )
    return TrainResult(
        output=output,
        model_config=model.config,
        train_config=config,
        labels=rows.labels,
        train_rows=len(rows),
        validation_rows=0 if validation is None else len(validation),
        metrics=tuple(state.metrics),
        shift=shift_between(initial_positions, final_positions),
        positions=(initial_positions.copy(), final_positions.copy()),
        notes=given.notes,
    )


def _write_metrics(output: Path, state: RunState) -> None:
    lines = [json.dumps(dataclasses.asdict(metrics)) + "\n" for metrics in state.metrics]
    atomic.write_bytes(output / checkpoint.METRICS_FILE, "".join(lines).encode())
