"""Faults in the weights, the same ones in every form of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pe_deploy.mutation.subject import Plant, Subject
from pe_deploy.training import GRUClassifier
from pe_deploy.training.state_dict import weights_sha256


def edits_weights(edit: Callable[[GRUClassifier], None]) -> Plant:
    """The fault that an edit in place makes, unless it leaves every weight as it is."""

    def plant(subject: Subject) -> Subject | str:
        module = copy.deepcopy(subject.classifier).requires_grad_(False)
        edit(module)
        if weights_sha256(module) == weights_sha256(subject.classifier):
            return "it leaves every weight of this model as it is"
        return subject.with_weights_of(module)

    return plant


@edits_weights
def gates_swapped(model: GRUClassifier) -> None:
    """Reset and update exchanged, as where torch's order of gates is taken for ONNX's."""
    for weight in _last_layer(model):
        reset, update, new = weight.chunk(3)
        weight.copy_(torch.cat([update, reset, new]))


@edits_weights
def bias_dropped(model: GRUClassifier) -> None:
    """The last layer without its biases."""
    for weight in _last_layer(model):
        if weight.dim() == 1:
            weight.zero_()


def positions(edit: Callable[[Tensor], Tensor]) -> Plant:
    """Another positional table, made of the one that was trained."""

    def edit_table(model: GRUClassifier) -> None:
        table = model.pos_encoder.positional_encoding.weight
        table.copy_(edit(table))

    return edits_weights(edit_table)


@edits_weights
def embedding_rows_permuted(model: GRUClassifier) -> None:
    """Two neighbours, of which neither is the first or the last id, which every case holds."""
    table, middle = model.embedding.weight, _middle_id(model)
    table[middle : middle + 2] = table[middle : middle + 2].flip(0)


def rounded_to(dtype: torch.dtype) -> Plant:
    """Every weight rounded to a narrower dtype."""

    def edit(model: GRUClassifier) -> None:
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))

    return edits_weights(edit)


@edits_weights
def one_weight_changed(model: GRUClassifier) -> None:
    """The head's largest weight off by 1e-3.

    It acts on a logit at once, by 1e-3 times a state between -1 and 1. What 1e-3 of a weight deep
    inside adds may be lost in float32's own rounding.
    """
    row = model.fc_lay.weight[0]
    row[row.abs().argmax()] += 1e-3


@edits_weights
def one_embedding_row_changed(model: GRUClassifier) -> None:
    """One id's row off by 0.1; not that of the padding, which is never looked at."""
    middle = _middle_id(model)
    model.embedding.weight[middle + 1 if middle == model.pad_id else middle] += 0.1


def _last_layer(model: GRUClassifier) -> Iterator[Tensor]:
    """The weights and biases of the last GRU layer, gates in torch's order: r, z, n."""
    return (getattr(model.rnn_lay, name) for name in model.rnn_lay._all_weights[-1])


def _middle_id(model: GRUClassifier) -> int:
    return (len(model.embedding.weight) - 1) // 2
