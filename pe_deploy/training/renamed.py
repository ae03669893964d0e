"""The notebook's architecture under other names, read off the shapes where one reading fits."""

from __future__ import annotations

import re

from torch import Tensor

from pe_deploy.errors import CheckpointError, printable
from pe_deploy.model_config import ModelConfig
from pe_deploy.training.key_names import common_prefix, plain_names, renamings
from pe_deploy.training.misfits import conversions, refuse_misfits
from pe_deploy.training.state_dict import MATRICES, State, infer_config, names_of, slots_of
from pe_deploy.training.unwrap import NAME_THE_CLASS
from pe_deploy.training.weight_files import WeightFile

_TOKENS, _POSITIONS, _, _HEAD = MATRICES
_GRU, _BIAS = "rnn_lay.", "fc_lay.bias"
_RNN = re.compile(r"(|.*\.)((?:weight|bias)_[ih]h_l\d+(?:_reverse)?)")
_POSITIONAL = re.compile(r"pos|(?<![^._])pe(?![^._])", re.IGNORECASE)
_WAY_OUT = f"name the class: {NAME_THE_CLASS}"


class _AnotherModelError(Exception):
    """Why tensors are not those of the notebook's architecture."""


def read_notebook(weights: WeightFile) -> tuple[ModelConfig, WeightFile]:
    """The sizes of the notebook's model, its weights by its names, and a line on each reading.

    The notebook's own names may stand behind one prefix. Others are read by shape: one GRU, a
    linear layer on its state, and two tables as wide as its input. The positional one of these
    has three axes, `[1, length, width]` or `[length, 1, width]`, or says so in its name.

    Raises:
        CheckpointError: no reading fits, or more than one does.
    """
    path = weights.path
    plain, notes = plain_names(path, weights.state)
    prefix = common_prefix(plain, MATRICES)
    state = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    missing = next((name for name in MATRICES if name not in state), None)
    try:
        if missing is None:
            _recurrent(state)
            read = renamings(weights.state, state)
        else:
            state, read = _by_shape(plain)
    except _AnotherModelError as why:
        lacks = f"{missing} is missing; its keys: {names_of(plain)}; " if missing else ""
        raise CheckpointError(
            f"{path}: {lacks}the keys are not the notebook's architecture ({why}); {_WAY_OUT}"
        ) from why
    config = infer_config(path, state)
    slots = slots_of(config)
    refuse_misfits(path, state, slots, f"; for another model {_WAY_OUT}")
    lines = (*weights.notes, *notes, *map(printable, read), *conversions(state, slots))
    return config, WeightFile(path, state, lines)


def _recurrent(state: State) -> str:
    """What the names of the one GRU begin with."""
    starts = sorted({match[1] for name in state if (match := _RNN.fullmatch(name))})
    if len(starts) != 1:
        names = ", ".join(start.rstrip(".") for start in starts)
        raise _AnotherModelError(
            f"{names} are {len(starts)} recurrent parts" if names else "no GRU"
        )
    (start,) = starts
    name = start.rstrip(".") or "the recurrent part"
    matrices = [state.get(f"{start}{name}_l0") for name in ("weight_ih", "weight_hh")]
    if any(matrix is None or matrix.dim() != 2 for matrix in matrices):
        raise _AnotherModelError(f"{name} lacks the matrix weight_ih_l0 or weight_hh_l0")
    hidden = state[f"{start}weight_hh_l0"]
    kind = {1: "a plain RNN", 4: "an LSTM"}.get(hidden.size(0) // max(hidden.size(1), 1), "a GRU")
    if f"{start}weight_hh_l0_reverse" in state:
        raise _AnotherModelError(f"{name} is {kind}, bidirectional")
    if kind != "a GRU":
        raise _AnotherModelError(f"{name} is {kind}")
    return start


def _by_shape(state: State) -> tuple[State, tuple[str, ...]]:
    """The same tensors by the notebook's names, and a line on which is which."""
    start = _recurrent(state)
    gru = [name for name in state if _RNN.fullmatch(name)]
    hidden, width = state[f"{start}weight_hh_l0"].size(1), state[f"{start}weight_ih_l0"].size(-1)
    rest = {name: tensor for name, tensor in state.items() if name not in gru}
    head = _head(rest, hidden)
    tables = {name: tensor for name, tensor in rest.items() if name not in head}
    tokens, positions = _tables(tables, width)
    read = {
        **{name: _GRU + name.removeprefix(start) for name in gru},
        positions: _POSITIONS,
        tokens: _TOKENS,
        **dict(zip(head, (_HEAD, _BIAS), strict=True)),
    }
    parts = {
        f"{start}*": f"{_GRU}*",
        _shown(positions, state): _POSITIONS,
        _shown(tokens, state): _TOKENS,
        f"{head[0].removesuffix('weight')}*": f"{_HEAD.removesuffix('weight')}*",
    }
    renamed = {now: state[name] for name, now in read.items()}
    renamed[_POSITIONS] = renamed[_POSITIONS].reshape(-1, width)
    others = (f"{part} as {now}" for part, now in parts.items() if part.split(" [")[0] != now)
    return renamed, (f"read {', '.join(others)}",)


def _head(rest: State, hidden: int) -> tuple[str, str]:
    """The names of the weight and of the bias of the one linear layer."""
    biases = [name for name, tensor in rest.items() if tensor.dim() == 1]
    if len(biases) != 1:
        raise _AnotherModelError(f"{len(biases)} vectors beside the GRU, not the bias of one head")
    bias = biases[0]
    weight = f"{bias.removesuffix('bias')}weight"
    expected = [rest[bias].size(0), hidden]
    if weight not in rest or list(rest[weight].shape) != expected:
        raise _AnotherModelError(f"{bias} has no {weight} {expected} beside it")
    return weight, bias


def _tables(tables: State, width: int) -> tuple[str, str]:
    """The names of the token table and of the positional one."""
    shown = ", ".join(_shown(name, tables) for name in sorted(tables)[:5]) or "none"
    if len(tables) != 2 or any(not _is_table(tensor, width) for tensor in tables.values()):
        more = f" and {len(tables) - 5} more" if len(tables) > 5 else ""
        raise _AnotherModelError(
            f"beside the GRU and the head: {shown}{more}; expected two tables of width {width}"
        )
    first, second = tables
    by_axes = [name for name in tables if tables[name].dim() == 3]
    by_name = [
        one for one, other in ((first, second), (second, first)) if _says_positions(one, other)
    ]
    positional = by_axes or by_name
    if len(positional) != 1:
        raise _AnotherModelError(f"either may be the positional table: {shown}")
    return (second, first) if positional == [first] else (first, second)


def _is_table(tensor: Tensor, width: int) -> bool:
    shape = list(tensor.shape)
    return shape[-1:] == [width] and (len(shape) == 2 or (len(shape) == 3 and 1 in shape[:2]))


def _says_positions(name: str, other: str) -> bool:
    parts = set(name.split(".")) - set(other.split("."))
    return any(_POSITIONAL.search(part) for part in parts)


def _shown(name: str, state: State) -> str:
    return f"{name} {list(state[name].shape)}"
