"""A checkpoint folder, or weights of the notebook's architecture, as what is exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pe_deploy.config import Weights
from pe_deploy.errors import InvalidInputError
from pe_deploy.export.held_out import held_out
from pe_deploy.export.source import Source
from pe_deploy.export.text import notes_on_text, tokenizer_of
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.spec import Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.training import load_checkpoint
from pe_deploy.training.checkpoint import is_run


def weights_source(
    path: Path,
    weights: Weights,
    stated: Mapping[str, Any],
    tokenizer: str | Path | Tokenizer | None = None,
    truncation: Truncation | None = None,
) -> Source:
    """What a checkpoint states, or, of weights alone, what is stated of them.

    Args:
        path: the folder or the file.
        weights: "best" or "last", of a checkpoint folder.
        stated: `labels`, `threshold`, `pad_id` and `data` of weights alone; None where not stated.
        tokenizer: what makes ids of texts; by default the checkpoint's own.
        truncation: which end of a text that is too long is cut off.

    Raises:
        CheckpointError: the weights cannot be read, or do not fit.
        InvalidInputError: something is stated that the folder knows; or does not fit the model.
        DataError: the tokenizer or the data cannot be read, or do not fit.
    """
    if is_run(path):
        return _of_a_run(path, weights, stated, tokenizer, truncation)
    made = tokenizer_of(tokenizer, stated["pad_id"], truncation)
    pad_id = stated["pad_id"]
    if pad_id is None and made is not None:
        pad_id = made.pad_id
    source = Source.of(load_checkpoint(path, weights=weights, pad_id=pad_id))
    encoder = None if made is None else TextEncoder(made, source.signature, truncation)
    judged = held_out(stated["data"], source.signature, stated["labels"], encoder)
    threshold = stated["threshold"]
    return dataclasses.replace(
        source,
        labels=source.labels if judged.labels is None else tuple(judged.labels),
        threshold=source.threshold if threshold is None else threshold,
        rows=judged.rows,
        encoder=encoder,
        texts=judged.texts,
        notes=(*source.notes, *notes_on_text(encoder)),
    )


def _of_a_run(
    folder: Path,
    weights: Weights,
    stated: Mapping[str, Any],
    tokenizer: str | Path | Tokenizer | None,
    truncation: Truncation | None,
) -> Source:
    if known := [name for name, value in stated.items() if value is not None]:
        raise InvalidInputError(
            f"{folder} is a checkpoint, which knows its own {', '.join(known)}; "
            "allowed: none stated"
        )
    source = Source.of(load_checkpoint(folder, weights=weights))
    encoder = source.encoder
    if encoder is None:
        made = tokenizer_of(tokenizer, source.signature.pad_id, truncation)
        encoder = None if made is None else TextEncoder(made, source.signature, truncation)
    elif tokenizer is not None:
        raise InvalidInputError(
            f"{folder} brings the tokenizer that it was trained with; allowed: no other"
        )
    elif truncation is not None:
        encoder = TextEncoder(encoder.tokenizer, source.signature, truncation)
    notes = (*source.notes, *notes_on_text(encoder))
    return dataclasses.replace(source, encoder=encoder, notes=notes)
