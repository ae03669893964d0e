"""The tensors of a model in what a trainer saved: beside them may be anything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pe_deploy.errors import CheckpointError
from pe_deploy.training.state_dict import State

HOW_TO_SAVE = "save the weights with torch.save(model.state_dict(), path)"
NAME_THE_CLASS = "pe-deploy export model.py:NAME weights.pt"

_ENTRIES = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params"),
    *("ema_state_dict", "model_ema", "state_dict_ema", "params_ema", "ema"),
)
"""Where trainers put the weights: the model's own first, then their moving averages."""


def unwrapped(path: Path, content: object) -> tuple[State, tuple[str, ...]]:
    """The named tensors in what was saved, and a line on where they were found in it.

    Raises:
        CheckpointError: there are none, several sets of them that nobody can tell apart, or one
            that is not a dense tensor as large as it says.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: holds a {type(content).__name__}, not a state_dict; {HOW_TO_SAVE}"
        )
    sets = [name for name, value in content.items() if _is_state(value)]
    if not sets:
        return _dense(path, content), ()
    known = [name for name in _ENTRIES if name in sets]
    if not known and len(sets) > 1:
        raise CheckpointError(
            f"{path}: holds {len(sets)} sets of tensors, {', '.join(map(repr, sets[:5]))}; "
            f"allowed: one, or one named {', '.join(map(repr, _ENTRIES[:3]))}; {HOW_TO_SAVE}"
        )
    entry = known[0] if known else sets[0]
    others = "".join(f", not {name!r}" for name in known[1:])
    return _dense(path, content[entry]), (f"read the entry {entry!r}{others}",)


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def _dense(path: Path, content: Mapping[object, object]) -> State:
    state: State = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: entry {key!r} is a {type(value).__name__}, not a tensor; {HOW_TO_SAVE}"
            )
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "quantized" if value.is_quantized else "meta" if value.is_meta else "sparse"
            raise CheckpointError(f"{path}: entry {key!r} is a {kind} tensor; allowed: dense ones")
        if value.nbytes > value.untyped_storage().nbytes():
            # One number seen as a million is a million by the time that it is copied.
            raise CheckpointError(
                f"{path}: entry {key!r} has shape {list(value.shape)}, which is more than the "
                f"file holds of it; {HOW_TO_SAVE}"
            )
        state[key] = value.detach()
    return state
