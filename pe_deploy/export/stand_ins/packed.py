"""Packed sequences in a form that a graph can hold: padded steps, and the length of each row.

A `PackedSequence` of torch joins the tokens of all rows of a batch, step by step, and tells how
many rows each step has: its sizes hang on the values of the ids. Here its `data` is time first with
the padding in it, `[T, B, D]`, and its `batch_sizes` are the lengths of the rows, `[B]`; no row is
moved.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from pe_deploy.errors import ExportError


def packed(inputs: Tensor, lengths: Tensor, batch_first: bool) -> PackedSequence:
    """What `pack_padded_sequence` stands for."""
    if not isinstance(lengths, Tensor):
        raise ExportError(
            "pack_padded_sequence gets the lengths as a list, which fixes them; "
            "give it the tensor: (ids != pad_id).sum(1)"
        )
    return PackedSequence(inputs.transpose(0, 1) if batch_first else inputs, lengths)


def padded(
    sequence: PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """What `pad_packed_sequence` stands for: `padding_value` behind each row's end."""
    steps, lengths = sequence.data, sequence.batch_sizes
    length = steps.shape[0]
    ended = torch.arange(length, device=steps.device)[:, None] >= lengths  # [T, B]
    steps = steps.masked_fill(ended[:, :, None], padding_value)
    if total_length is not None and not statically_known_true(total_length == length):
        steps = functional.pad(steps, (0, 0, 0, 0, 0, total_length - length), value=padding_value)
    return (steps.transpose(0, 1) if batch_first else steps), lengths


class Capturing:
    """The thread that captures: for it alone, the functions below are what they are here."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.owns: dict[str, Any] = {}

    def own(self, function: Any) -> Any:
        """Torch's own function, for any other thread; else None."""
        return None if get_ident() == self.thread else self.owns.get(function.__name__)


CAPTURING = Capturing()

# The functions below lend their code to those of `torch.nn.utils.rnn`, whose globals they see.


def pack_padded_sequence(  # type: ignore[no-untyped-def]  # noqa: D103
    input,  # noqa: A002 - torch's own name
    lengths,
    batch_first=False,
    enforce_sorted=True,
):
    from pe_deploy.export.stand_ins.packed import CAPTURING, packed

    if (own := CAPTURING.own(pack_padded_sequence)) is not None:
        return own(input, lengths, batch_first, enforce_sorted)
    return packed(input, lengths, batch_first)


def pad_packed_sequence(  # type: ignore[no-untyped-def]  # noqa: D103
    sequence, batch_first=False, padding_value=0.0, total_length=None
):
    from pe_deploy.export.stand_ins.packed import CAPTURING, padded

    if (own := CAPTURING.own(pad_packed_sequence)) is not None:
        return own(sequence, batch_first, padding_value, total_length)
    return padded(sequence, batch_first, padding_value, total_length)
