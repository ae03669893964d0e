"""Faults in the weights, the same ones in every form of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pe_deploy.config import Signature
from pe_deploy.mutation.parts import head, id_table, last_recurrent, last_weights, position_table
from pe_deploy.mutation.subject import Plant, Subject
from pe_deploy.training.state_dict import weights_sha256

Edit = Callable[[nn.Module, Signature], str | None]
"""Changes a module in place, or says why it cannot have the fault."""


def edits_weights(edit: Edit) -> Plant:
    """The fault that an edit in place makes, unless it leaves every weight as it is."""

    def plant(subject: Subject) -> Subject | str:
        module = copy.deepcopy(subject.classifier).requires_grad_(False)
        why_not = edit(module, subject.manifest.signature)
        if why_not is not None:
            return why_not
        if weights_sha256(module) == weights_sha256(subject.classifier):
            return "it leaves every weight of this model as it is"
        return subject.with_weights_of(module)

    return plant


@edits_weights
def gates_swapped(module: nn.Module, signature: Signature) -> str | None:
    """The first two gates exchanged, as where torch's order of gates is taken for ONNX's."""
    layer = last_recurrent(module)
    if layer is None or isinstance(layer, nn.RNN):
        return "no layer of the model has gates"
    for weight in last_weights(layer):
        first, second, *others = weight.chunk(3 if isinstance(layer, nn.GRU) else 4)
        weight.copy_(torch.cat([second, first, *others]))
    return None


@edits_weights
def bias_dropped(module: nn.Module, signature: Signature) -> str | None:
    """The last layer without its biases."""
    layer = last_recurrent(module)
    if layer is None:
        return _NOT_RECURRENT
    for weight in last_weights(layer):
        if weight.dim() == 1:
            weight.zero_()
    return None


@edits_weights
def directions_exchanged(module: nn.Module, signature: Signature) -> str | None:
    """The last layer reads forwards with the weights of backwards, and the other way round."""
    layer = last_recurrent(module)
    if layer is None or not layer.bidirectional:
        return "no layer of the model has two directions"
    for one, other in zip(last_weights(layer), last_weights(layer, backwards=True), strict=True):
        before = one.clone()
        one.copy_(other)
        other.copy_(before)
    return None


def positions(edit: Callable[[Tensor], Tensor]) -> Plant:
    """Another positional table, made of the one that was trained."""

    def edit_table(module: nn.Module, signature: Signature) -> str | None:
        table = position_table(module, signature)
        if table is None:
            return "the model has no table of positions"
        used = table[: signature.max_length]
        used.copy_(edit(used))
        return None

    return edits_weights(edit_table)


@edits_weights
def embedding_rows_permuted(module: nn.Module, signature: Signature) -> str | None:
    """Two neighbours, of which neither is the first or the last id, which every case holds."""
    table = id_table(module, signature)
    if table is None:
        return _NO_TABLE
    middle = (signature.vocab_size - 1) // 2
    table[middle : middle + 2] = table[middle : middle + 2].flip(0)
    return None


def rounded_to(dtype: torch.dtype) -> Plant:
    """Every weight rounded to a narrower dtype."""

    @edits_weights
    def plant(module: nn.Module, signature: Signature) -> None:
        for weight in module.parameters():
            weight.copy_(weight.to(dtype))

    def plant_if_new(subject: Subject) -> Subject | str:
        compact, name = subject.manifest.compact, str(dtype).removeprefix("torch.")
        if compact is not None and compact.dtype == name:
            return f"the bundle's weights are {name}, and what that costs was measured beside"
        return plant(subject)

    return plant_if_new


@edits_weights
def one_weight_changed(module: nn.Module, signature: Signature) -> None:
    """The head's largest weight off by 1e-3.

    It acts on a logit at once, by 1e-3 times a state between -1 and 1. What 1e-3 of a weight deep
    inside adds may be lost in float32's own rounding.
    """
    row = head(module)
    row[row.abs().argmax()] += 1e-3


@edits_weights
def one_embedding_row_changed(module: nn.Module, signature: Signature) -> str | None:
    """One id's row off by 0.1; not that of the padding, which is never looked at."""
    table = id_table(module, signature)
    if table is None:
        return _NO_TABLE
    middle = (signature.vocab_size - 1) // 2
    table[middle + 1 if middle == signature.pad_id else middle] += 0.1
    return None


_NOT_RECURRENT = "the model has no recurrent layer"
_NO_TABLE = "no layer of the model is a table of ids"
