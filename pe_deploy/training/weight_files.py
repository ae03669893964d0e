"""Weights as trainers leave them: a file, a file for each shard, or a folder of either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pe_deploy.errors import CheckpointError, errors_as, printable
from pe_deploy.storage import strict_json
from pe_deploy.training.state_dict import State, read_bytes
from pe_deploy.training.weight_formats import LARGEST, read_file

_INDEX = ".index.json"
_LARGEST_INDEX = 2**26
_IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What a folder of the Hugging Face kind holds its weights as; the first that is there is read."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file or folder.

    Attributes:
        path: where they come from; errors name it.
        state: dense tensors on the CPU by their names in the file, of any dtype.
        notes: a line on each thing that was done to get at them.
    """

    path: Path
    state: State
    notes: tuple[str, ...] = ()


def read_weights(path: str | Path) -> WeightFile:
    """Read named tensors: from what `torch.save` writes, `.safetensors`, or a folder of these.

    What a file is, is seen in its bytes, not in its name. A checkpoint's other entries (epochs,
    optimizers) are left out.

    Raises:
        CheckpointError: there are no weights, they are damaged, or of a kind that is not read;
            the line says what to do.
    """
    path = Path(path)
    if path.is_dir():
        found = _in_folder(path)
        weights = read_weights(found)
        return WeightFile(found, weights.state, (f"read {found.name}", *weights.notes))
    state, notes = _read_shards(path) if path.name.endswith(_INDEX) else read_file(path)
    return WeightFile(path, state, tuple(map(printable, notes)))


def _in_folder(folder: Path) -> Path:
    for name in _IN_A_FOLDER:
        if (folder / name).is_file():
            return folder / name
    with errors_as(CheckpointError, raised=OSError):
        files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    there = f"holds {_some(path.name for path in files)}" if files else "holds no weights"
    raise CheckpointError(f"{folder}: {there}; allowed: {', '.join(_IN_A_FOLDER)}, or one file")


def _read_shards(index: Path) -> tuple[State, tuple[str, ...]]:
    """The tensors of all files that an index lists, each of which it has to list rightly."""
    where = _weight_map(index)
    state: State = {}
    notes: dict[str, None] = {}  # each said once, not for each shard
    files = sorted(set(where.values()))
    for name in files:
        shard, more = read_file(index.parent / name)
        listed = {key for key, file in where.items() if file == name}
        if shard.keys() != listed:
            odd = _some(sorted(shard.keys() ^ listed))
            raise CheckpointError(f"{index.parent / name}: not as {index.name} lists it: {odd}")
        state |= shard
        if sum(tensor.nbytes for tensor in state.values()) > LARGEST:
            raise CheckpointError(f"{index}: more than {LARGEST} bytes in its files together")
        notes |= dict.fromkeys(more)
    return state, (f"joined {len(files)} files of {index.name}", *notes)


def _weight_map(index: Path) -> dict[str, str]:
    if index.is_file() and index.stat().st_size > _LARGEST_INDEX:
        raise CheckpointError(f"{index}: allowed: {_LARGEST_INDEX} bytes or fewer")
    try:
        where = strict_json.loads(read_bytes(index))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index}: not an index of weights: {error}") from error
    if not isinstance(where, dict) or not where:
        raise CheckpointError(f"{index}: weight_map is {where!r}; allowed: a file for each tensor")
    for key, name in where.items():
        # The name of a file beside it, and nothing that leads elsewhere.
        if not isinstance(name, str) or Path(name).name != name or set(name) & set("\\:\0"):
            raise CheckpointError(f"{index}: {key} is in {name!r}; allowed: a file beside it")
    return where


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = f", and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more
