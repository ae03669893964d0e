"""Any module as a `Source`: unwrapped, read, adapted and tried before anything is captured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from pe_deploy.config import Label, Signature, takes_threshold
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.adapt import preflight
from pe_deploy.export.adapt.adapter import IdsToLogits, answer_of
from pe_deploy.export.adapt.copying import frozen_copy, in_float32, unwrapped
from pe_deploy.export.adapt.endings import WHOLE_NUMBERS, ending_of
from pe_deploy.export.adapt.loading import Loaded
from pe_deploy.export.adapt.outputs import taken
from pe_deploy.export.adapt.reading import Stated, readings
from pe_deploy.export.held_out import Data, held_out
from pe_deploy.export.source import Source
from pe_deploy.export.text import notes_on_text, tokenizer_of
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.spec import Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.training.state_dict import weights_sha256

Outputs = Literal["logits", "probabilities"]
"""What a module's `forward` ends in."""

_THRESHOLD = 0.5


def source_of(
    module: nn.Module | Loaded,
    stated: Stated,
    *,
    labels: Sequence[Label] | None = None,
    threshold: float | None = None,
    outputs: Outputs = "logits",
    data: Data | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    truncation: Truncation | None = None,
) -> Source:
    """A module with what has to be known to use it: stated, or read off.

    Raises:
        ExportError: it does something that no bundle can hold to, or a size is neither stated nor
            to be read off.
        InvalidInputError: what is stated is outside its range, or of another model.
        DataError: the data or the tokenizer cannot be read, or the data do not fit the model.
    """
    given = module if isinstance(module, Loaded) else Loaded(module, {})
    if not isinstance(given.module, nn.Module):
        raise InvalidInputError(
            f"module is {_shown(given.module)}; allowed: an nn.Module, made and trained"
        )
    if labels is not None and not isinstance(labels, list | tuple | range):
        raise InvalidInputError(f"labels are {labels!r}; allowed: a list, in the order of classes")
    if not isinstance(data, Data | None):
        raise InvalidInputError(
            f"data is {_shown(data)}; allowed: a file, a Dataset or a TextDataset"
        )
    if outputs not in get_args(Outputs):
        raise InvalidInputError(f"outputs is {outputs!r}; allowed: {', '.join(get_args(Outputs))}")
    made = tokenizer_of(tokenizer, stated.pad_id, truncation)
    if made is not None and stated.pad_id is None:
        stated = dataclasses.replace(stated, pad_id=made.pad_id)
    inner, unwrapping = unwrapped(given.module)
    plain, upcast = in_float32(inner)
    adapted = _adapted(plain, stated, outputs)
    signature = adapted.signature
    encoder = None if made is None else TextEncoder(made, signature, truncation)
    judged = held_out(data, signature, labels, encoder)
    labels = judged.labels
    if labels is None:
        labels = range(signature.num_labels)
    if threshold is None and takes_threshold(signature):
        threshold = _THRESHOLD
    return Source(
        adapted.module if adapted.is_plain else adapted,
        signature,
        tuple(labels),
        threshold,
        rows=judged.rows,
        weights_sha256=weights_sha256(inner),
        origin={**_origin_of(inner, adapted), **given.origin},
        notes=(
            *given.notes,
            *unwrapping,
            *upcast,
            *_notes_on(adapted, stated),
            *notes_on_text(encoder),
        ),
        encoder=encoder,
        texts=judged.texts,
        is_ready=True,
    )


def stated_by(signature: Signature) -> Stated:
    """A signature as what is stated of a module, so that nothing is read off."""
    return Stated(
        signature.vocab_size,
        signature.max_length,
        signature.min_length if signature.min_length > 1 else None,
        signature.pad_id,
        signature.task,
    )


def _shown(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def ready(source: Source) -> Source:
    """A source whose module is as its signature says: adapted, if it is not so by itself.

    Raises:
        ExportError: as `source_of`; or the module gives another number of classes than stated.
    """
    if source.is_ready:
        return source
    signature = source.signature
    made = source_of(source.module, stated_by(signature))
    if made.signature.num_classes != signature.num_classes:
        raise ExportError(
            f"the module gives {made.signature.num_classes} classes; its signature says "
            f"{signature.num_classes}"
        )
    return dataclasses.replace(
        made,
        labels=source.labels,
        threshold=source.threshold,
        model=source.model,
        rows=source.rows,
        encoder=source.encoder,
        texts=source.texts,
        origin=made.origin if source.model is None else None,
    )


def _adapted(module: nn.Module, stated: Stated, outputs: Outputs) -> IdsToLogits:
    """The first reading that stands up to being used; else what is wrong with the likeliest."""
    first: ExportError | None = None
    for adapted in readings(frozen_copy(module), stated):
        try:
            preflight.check(adapted)
            tried = _with_logits(adapted, outputs)
        except ExportError as error:
            first = first or error
        else:
            return tried.around(module)  # which no trial has left anything in
    raise first or ExportError("there is no way to call the module")


def _with_logits(adapted: IdsToLogits, outputs: Outputs) -> IdsToLogits:
    """Check that a module ends in logits, or take off what it ends in."""
    signature = adapted.signature
    ids = torch.from_numpy(preflight.some_ids(signature))

    def run() -> torch.Tensor:
        answer = answer_of(adapted.module, adapted.call, ids, signature.pad_id)
        logits: torch.Tensor = taken(answer, adapted.place)
        return logits

    ending = None if signature.task == "regression" else ending_of(run)
    name = type(adapted.module).__name__
    if outputs == "logits":
        if ending is not None:
            if ending.name == WHOLE_NUMBERS:
                raise ExportError(
                    f"{name} answers with whole numbers, which are no logits; return what it has "
                    "before argmax or round"
                )
            way_out = "" if ending.call is None else ", or state --outputs probabilities"
            raise ExportError(
                f"{name} ends in {ending.name}: it gives probabilities, which would be squashed "
                f"twice; return the logits{way_out}"
            )
        return adapted
    if ending is None or ending.call is None or ending.name == "log_sigmoid":
        found = (
            "does not end in sigmoid or softmax"
            if ending is None
            else (f"has its {ending.name} where it cannot be taken off")
        )
        raise ExportError(f"{name} {found}, as --outputs probabilities needs; return the logits")
    squashes = "sigmoid" if takes_threshold(signature) else "softmax"
    if squashes not in ending.name:
        raise ExportError(
            f"{name} ends in {ending.name}; with {signature.num_classes} classes of task "
            f"{signature.task}, allowed: {squashes}"
        )
    logits = IdsToLogits(
        adapted.module, signature, adapted.call, adapted.place, adapted.layout, ending
    )
    preflight.check_undone(logits, adapted, ids)
    return logits


def _origin_of(module: nn.Module, adapted: IdsToLogits) -> dict[str, Any]:
    """What the manifest says of a module that is not the notebook's."""
    origin: dict[str, Any] = {"name": type(module).__name__}
    if adapted.call.seconds:
        origin["computed_inputs"] = [str(second) for second in adapted.call.seconds]
    if adapted.place is not None:
        origin["logits_from"] = str(adapted.place)
    if adapted.ending is not None:
        origin["left_out"] = adapted.ending.name
    return origin


def _notes_on(adapted: IdsToLogits, stated: Stated) -> list[str]:
    signature: Signature = adapted.signature
    found = []
    if stated.vocab_size is None:
        found.append(f"vocabulary {signature.vocab_size}")
    if stated.max_length is None or (stated.min_length is None and signature.min_length > 1):
        found.append(f"{signature.min_length} to {signature.max_length} ids a row")
    found.append(f"logits [{', '.join(map(str, signature.output_axes))}]")
    notes = [f"read off: {', '.join(found)}"]
    if adapted.place is not None:
        notes.append(f"of what forward gives, the logits are {adapted.place!r}")
    notes += [f"computed from the ids: {second}" for second in adapted.call.seconds]
    if adapted.ending is not None:
        notes.append(f"left out: {adapted.ending.name}, which the bundle's decision applies")
    return notes
