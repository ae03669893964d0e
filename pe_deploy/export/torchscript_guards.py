"""The checks of an input inside TorchScript, in the words of `pe_deploy.runtime.validation`.

A graph that is loaded with plain `torch.jit.load` has nobody before it to check its input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pe_deploy.config import Signature


class Guarded(nn.Module):
    """A module behind the checks of its signature; scripts with `torch.jit.script`.

    It takes any integer dtype, and raises ValueError where `to_input_ids` raises
    InvalidInputError. A batch of no rows is an error too.
    """

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module = module
        self.vocab_size = signature.vocab_size
        self.min_length = signature.min_length
        self.max_length = signature.max_length
        self.pad_id = signature.pad_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """From integers `[batch, sequence]` to the logits of the module."""
        check_form(input_ids, self.min_length, self.max_length)
        ids = input_ids.to(torch.int64)
        check_range(ids, self.vocab_size)
        pad_id = self.pad_id
        if pad_id is not None:
            check_padding(ids, pad_id, self.min_length, self.max_length)
        logits: Tensor = self.module(ids)
        return logits


def check_form(input_ids: Tensor, min_length: int, max_length: int) -> None:
    """Raise ValueError unless the ids are integers `[batch, sequence]` of an allowed size."""
    if input_ids.dim() != 2:
        raise ValueError(
            f"input_ids has {input_ids.dim()} dimensions; allowed: 2, [batch, sequence]"
        )
    rows, columns = input_ids.size(0), input_ids.size(1)
    if rows == 0:
        raise ValueError(
            f"input_ids has shape ({rows}, {columns}); "
            f"allowed: at least 1 row and {min_length} to {max_length} columns"
        )
    if columns < min_length or columns > max_length:
        raise ValueError(f"input_ids has {columns} columns; allowed: {min_length} to {max_length}")
    if input_ids.is_floating_point() or input_ids.is_complex() or input_ids.dtype == torch.bool:
        raise ValueError(f"input_ids has dtype {dtype_name(input_ids)}; allowed: an integer dtype")


def check_range(ids: Tensor, vocab_size: int) -> None:
    """Raise ValueError where an id is outside the vocabulary."""
    # An unsigned id beyond int64 has become negative in `ids`.
    wrong = (ids < 0) | (ids >= vocab_size)
    if bool(wrong.any()):
        place = wrong.nonzero()[0]
        row, column = int(place[0]), int(place[1])
        raise ValueError(
            f"row {row}: column {column} has id {int(ids[row, column])}; "
            f"allowed: 0 to {vocab_size - 1}"
        )


def check_padding(ids: Tensor, pad_id: int, min_length: int, max_length: int) -> None:
    """Raise ValueError where padding is anywhere but at the end of a row, or leaves too few ids."""
    is_pad = ids == pad_id
    empty = is_pad.all(dim=1)
    misplaced = (is_pad[:, :-1] & ~is_pad[:, 1:]).any(dim=1)
    wrong = empty | misplaced
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        if bool(empty[row]):
            raise ValueError(f"row {row}: every id is pad_id {pad_id}; allowed: at least one token")
        column = int(is_pad[row].nonzero()[0])
        raise ValueError(
            f"row {row}: column {column} has pad_id {pad_id} before the row's last token; "
            "allowed: padding on the right only"
        )
    if min_length > 1:
        lengths = (~is_pad).sum(dim=1)
        short = lengths < min_length
        if bool(short.any()):
            row = int(short.nonzero()[0])
            raise ValueError(
                f"row {row}: has {int(lengths[row])} ids; allowed: {min_length} to {max_length}"
            )


def dtype_name(tensor: Tensor) -> str:
    """The name of a dtype that no id can have; TorchScript itself knows dtypes by number only."""
    dtype = tensor.dtype
    if dtype == torch.bool:
        return "bool"
    if dtype == torch.float16:
        return "float16"
    if dtype == torch.bfloat16:
        return "bfloat16"
    if dtype == torch.float32:
        return "float32"
    if dtype == torch.float64:
        return "float64"
    return "complex" if tensor.is_complex() else "float"
