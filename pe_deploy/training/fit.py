"""Weights into a module of any class: each tensor in its place, or an error that names it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pe_deploy.errors import CheckpointError, line_of
from pe_deploy.training.key_names import by_names_of
from pe_deploy.training.misfits import Slot, conversions, refuse_misfits
from pe_deploy.training.state_dict import State
from pe_deploy.training.weight_files import WeightFile


def fit_state(module: nn.Module, weights: WeightFile) -> tuple[str, ...]:
    """Load weights into a module, strictly; it keeps its dtypes and devices.

    Names may differ by what wrappers add (DataParallel, AveragedModel, torch.compile, Lightning's
    and any other one prefix, on either side) and by how weight norm and spectral norm were named.
    A tensor that was saved once for two names, and a buffer that only counts (`position_ids`,
    `num_batches_tracked`), may be missing.

    Returns:
        the lines of the weights, and one on each thing that was done to make them fit.

    Raises:
        CheckpointError: naming the first five tensors that are missing, unexpected, of another
            shape or kind, or not finite; and how many more there are. The module is then as it was.
    """
    own = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)  # and no extra state
    }
    state, renamed = by_names_of(weights.path, weights.state, own)
    state, completed = _completed(state, own)
    slots = {name: _slot(tensor) for name, tensor in own.items()}
    refuse_misfits(weights.path, state, slots)
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:  # of hooks, extra state, and the like
        raise CheckpointError(f"{weights.path}: {line_of(error)}") from error
    return (*weights.notes, *renamed, *completed, *conversions(state, slots))


def _slot(own: Tensor) -> Slot:
    shape = None if is_lazy(own) else list(own.shape)
    return Slot(shape, own.dtype, None if isinstance(own, nn.Parameter) else own)


def _completed(state: State, own: Mapping[str, Tensor]) -> tuple[State, tuple[str, ...]]:
    """The state with what needs no file: its lines say what was taken from where."""
    made, notes = dict(state), list[str]()
    for name, tensor in own.items():
        if name in state:
            continue
        twin = next((one for one in state if own.get(one) is tensor), None)
        if twin is not None:
            made[name] = state[twin]
            notes.append(f"read {twin} as {name} too, which is the same parameter")
        elif _only_counts(name, tensor):
            made[name] = tensor
    for name, tensor in state.items():
        if name not in own and _only_counts(name, tensor):
            del made[name]
            notes.append(f"left out {name}, which the model does not keep")
    return made, tuple(notes)


def _only_counts(name: str, tensor: Tensor) -> bool:
    """Whether it is `num_batches_tracked`, which no answer rests on, or just 0, 1, 2, …."""
    if name.rpartition(".")[2] == "num_batches_tracked":
        return True
    if is_lazy(tensor) or tensor.dtype != torch.int64 or tensor.numel() < 2:
        return False
    counted = torch.arange(tensor.size(-1), device=tensor.device)
    return torch.equal(tensor, counted.expand_as(tensor))
