"""Whether tensors by name are those that a model has: strictly, and each misfit named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pe_deploy.errors import CheckpointError

_SHOWN = 5  # misfits named in one error; the rest are counted


class Slot(NamedTuple):
    """What a model has under a name.

    Attributes:
        shape: None, where it takes any.
        dtype: in which the model computes with it.
        constant: what a buffer holds from the start, which may be infinite (a mask, say).
    """

    shape: list[int] | None
    dtype: torch.dtype = torch.float32
    constant: Tensor | None = None


def refuse_misfits(
    path: Path, state: Mapping[str, Tensor], slots: Mapping[str, Slot], way_out: str = ""
) -> None:
    """Check that each tensor has its slot, and each slot its tensor.

    Raises:
        CheckpointError: naming the first five tensors that are missing, unexpected, of another
            shape or kind, or not finite in the slot's dtype; and how many more there are.
    """
    found = list(_misfits(state, slots))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise CheckpointError(f"{path}: {'; '.join(found[:_SHOWN])}{more}{way_out}")


def conversions(state: Mapping[str, Tensor], slots: Mapping[str, Slot]) -> tuple[str, ...]:
    """A line for each dtype that is not the slot's: it is read exactly, or rounded."""
    pairs = Counter((state[name].dtype, slot.dtype) for name, slot in slots.items())
    lines = []
    for (held, wanted), count in pairs.items():
        done, to = (
            ("read", "as") if torch.promote_types(held, wanted) == wanted else ("rounded", "to")
        )
        tensors = f"{count} tensor{'s' if count > 1 else ''} of {_kind(held)}"
        if held != wanted:
            lines.append(f"{done} {tensors} {to} {_kind(wanted)}")
    return tuple(lines)


def _misfits(state: Mapping[str, Tensor], slots: Mapping[str, Slot]) -> Iterator[str]:
    """In the model's order: that in which safetensors gives tensors is another each time."""
    for key, (shape, dtype, constant) in slots.items():
        tensor = state.get(key)
        if tensor is None:
            yield f"{key} is missing" + ("" if shape is None else f"; expected shape {shape}")
            continue
        held = list(tensor.shape)
        if shape not in (None, held):
            yield f"{key} has shape {held}; expected {shape}"
        elif _family(tensor.dtype) != _family(dtype):
            expected = "dense floats" if dtype.is_floating_point else _kind(dtype)
            yield f"{key} with shape {held} is {_kind(tensor.dtype)}; expected {expected}"
        elif not _is_usable(tensor.to(dtype), constant):
            yield f"{key} with shape {held} has values that are not finite in {_kind(dtype)}"
    for key in sorted(state.keys() - slots.keys()):
        yield f"{key} with shape {list(state[key].shape)} is unexpected"


def _is_usable(tensor: Tensor, constant: Tensor | None) -> bool:
    finite = bool(torch.isfinite(tensor).all())
    return finite or (constant is not None and torch.equal(tensor, constant.to(tensor.device)))


def _family(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "floats"
    return "complex" if dtype.is_complex else "bool" if dtype == torch.bool else "integers"


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
