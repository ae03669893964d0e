"""The rows of a run: found, sized, and checked against the model they are to train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.config import Label
from pe_deploy.data import DataFile, Dataset, TextDataset, split, synthetic
from pe_deploy.data.languages import languages
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.runtime import to_input_ids
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.training.batches import Marks
from pe_deploy.training.texts import TextOptions, encode_texts

Source = str | Path | DataFile | Dataset | TextDataset
"""`"synthetic"`, `"digits"`, `"languages"`, the path of a file, a file and how it is to be read, or
the rows or texts themselves."""

_NO_BYTE = 0xFE
"""Like the padding, a byte that no text in UTF-8 holds."""


@dataclass(frozen=True)
class Prepared:
    """What a run is given.

    Attributes:
        rows: those to train on.
        validation: those to validate on, and None where there are none.
        encoder: what made them of texts, if they were.
        validation_texts: the texts of the validation rows.
        notes: a line on each thing that is not as one might expect.
    """

    rows: Dataset
    validation: Dataset | None
    encoder: TextEncoder | None = None
    validation_texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def marks(self) -> Marks:
        """The ids that stand for a space and for a token that is not told, of texts."""
        if self.encoder is None:
            return Marks()
        tokenizer = self.encoder.tokenizer
        names = tokenizer.vocabulary()
        hidden = _NO_BYTE if tokenizer.kind == "bytes" else tokenizer.unknown_id
        return Marks(names.index(" ") if " " in names else None, hidden)


def draw_synthetic(config: ModelConfig) -> Dataset:
    """The notebook's 40 random rows, drawn from torch's global generator."""

    def draw(high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = torch.randint(0, high, shape).numpy()
        return drawn

    return synthetic(draw, length=config.max_length, vocab_size=config.vocab_size)


def prepare(
    source: Source,
    pad_id: int | None,
    validation: Dataset | TextDataset | None,
    config: TrainConfig,
    options: TextOptions,
) -> Prepared:
    """The rows that `source` names; of texts, which are in two parts then, the ids.

    Raises:
        InvalidInputError: settings do not go together.
        DataError: a file cannot be read, or rows or texts do not fit the settings.
    """
    if isinstance(source, str) and source == "languages":
        source, _ = languages()
        options = replace(options, tokenizer=options.tokenizer or "bytes")
    notes: list[str] = []
    if isinstance(source, str | Path):
        source = DataFile(source)
    if isinstance(source, DataFile):
        of_texts = options.tokenizer is not None or source.columns.text is not None
        source = source.texts(notes.append) if of_texts else source.rows(pad_id, notes.append)
    if isinstance(source, TextDataset):
        if pad_id is not None:
            raise InvalidInputError(f"pad_id is {pad_id}; of texts, the tokenizer states it")
        made = _prepare_texts(source, validation, config, options)
        return replace(made, notes=(*notes, *made.notes))
    if options.tokenizer is not None:
        raise InvalidInputError(f"tokenizer is {options.tokenizer}; allowed only with texts")
    rows = _padded(source, pad_id)
    if isinstance(validation, TextDataset):
        raise InvalidInputError("validation is texts; allowed: rows of ids, as those of training")
    if validation is not None:
        _check_labels(validation.labels, rows.labels)
    return Prepared(rows, validation, notes=tuple(notes))


def hold_back(given: Prepared, config: TrainConfig) -> Prepared:
    """A share of the rows to validate on, where there are none yet; texts were split before."""
    if given.validation is not None or given.encoder is not None or not config.validation_fraction:
        return given
    notes = list(given.notes)
    rows, held_out = split(given.rows, config.validation_fraction, config.seed, notes.append)
    return Prepared(rows, held_out, notes=tuple(notes))


def _prepare_texts(
    texts: TextDataset,
    validation: Dataset | TextDataset | None,
    config: TrainConfig,
    options: TextOptions,
) -> Prepared:
    if isinstance(validation, Dataset):
        raise InvalidInputError("validation is rows of ids; allowed: texts, as those of training")
    notes: list[str] = []
    if validation is not None:
        _check_labels(validation.labels, texts.labels)
    elif config.validation_fraction:
        texts, validation = split(texts, config.validation_fraction, config.seed, notes.append)
    made = encode_texts(texts, validation, options)
    return Prepared(
        made.rows, made.validation, made.encoder, made.validation_texts, (*notes, *made.notes)
    )


def _check_labels(validation: tuple[Label, ...], training: tuple[Label, ...]) -> None:
    if validation != training:
        raise DataError(
            f"validation labels are {list(validation)}; allowed: those of training, "
            f"{list(training)}"
        )


def _padded(rows: Dataset, pad_id: int | None) -> Dataset:
    """The rows with a `pad_id`, of which a `Dataset` may bring its own.

    Raises:
        InvalidInputError: `pad_id` is another one than the dataset's own.
    """
    if pad_id is None or pad_id == rows.pad_id:
        return rows
    if rows.pad_id is not None:
        raise InvalidInputError(
            f"pad_id is {pad_id}; allowed: {rows.pad_id}, which pads the dataset's rows"
        )
    return replace(rows, pad_id=pad_id)


def sizes_of(given: Prepared) -> tuple[int, int]:
    """One more than the largest id, padding included, and the columns of the widest dataset.

    With a tokenizer, one more than the largest id that it may give.
    """
    datasets = [given.rows] if given.validation is None else [given.rows, given.validation]
    if given.encoder is not None:
        return given.encoder.signature.vocab_size, given.encoder.signature.max_length
    ids = [int(dataset.input_ids.max(initial=0)) for dataset in datasets]
    padding = [dataset.pad_id for dataset in datasets if dataset.pad_id is not None]
    return max(ids + padding) + 1, max(dataset.input_ids.shape[1] for dataset in datasets)


def check_rows(rows: Dataset, config: ModelConfig, name: str) -> None:
    """Check that a model of these sizes takes every row.

    Raises:
        DataError: there is none, or one does not fit: `name` (a file, say) and the row, counted
            from 1 as in files, are named.
    """
    if len(rows) == 0:
        raise DataError(f"{name}: has 0 rows; allowed: at least 1")
    try:
        to_input_ids(rows.input_ids, config.signature)
    except InvalidInputError as error:
        where = name if error.row is None else f"{name}: row {error.row + 1}"
        raise DataError(f"{where}: {error.reason}") from error
