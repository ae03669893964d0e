"""Weights in and out: as bytes, the sizes that they imply, and the notebook's model of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pe_deploy.errors import CheckpointError, InvalidInputError
from pe_deploy.model_config import ModelConfig
from pe_deploy.training.misfits import Slot, refuse_misfits
from pe_deploy.training.model import GRUClassifier

State = dict[str, Tensor]
"""Tensors by name, as `state_dict()` gives them."""

MATRICES = (
    *("embedding.weight", "pos_encoder.positional_encoding.weight"),
    *("rnn_lay.weight_hh_l0", "fc_lay.weight"),
)
"""The notebook's names of the matrices that tell its model's sizes."""

_HEADER_AT = 8  # after its own length, in a .safetensors file
_SHOWN = 3  # names in one error


def tensors_to_bytes(tensors: State, metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a `.safetensors` file; the same tensors give the same bytes."""
    made: bytes = safetensors.torch.save(tensors, dict(metadata) if metadata else None)
    return made


def tensors_from_bytes(path: Path, data: bytes) -> tuple[State, dict[str, str]]:
    """The tensors and the metadata in the bytes of a `.safetensors` file; errors name `path`.

    Raises:
        CheckpointError: the bytes are damaged.
    """
    try:
        tensors = safetensors.torch.load(data)
        end = _HEADER_AT + int.from_bytes(data[:_HEADER_AT], "little")
        metadata = json.loads(data[_HEADER_AT:end]).get("__metadata__", {})
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    return tensors, metadata


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        CheckpointError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def infer_config(path: Path, state: State) -> ModelConfig:
    """The sizes that a state_dict with the notebook's names was trained with.

    Padding and dropout leave no trace in weights: `pad_id` is None and `dropout` 0.

    Raises:
        CheckpointError: a matrix that tells a size is missing, not 2-D, or empty.
    """

    def shape(key: str) -> tuple[int, int]:
        if key not in state:
            raise CheckpointError(f"{path}: {key} is missing; its keys: {names_of(state)}")
        tensor = state[key]
        if tensor.dim() != 2:
            raise CheckpointError(f"{path}: {key} has shape {list(tensor.shape)}; expected 2-D")
        return tensor.size(0), tensor.size(1)

    (vocab_size, embedding_dim), (max_length, _), (_, hidden_dim), (num_classes, _) = map(
        shape, MATRICES
    )
    num_layers = sum(re.fullmatch(r"rnn_lay\.weight_ih_l\d+", key) is not None for key in state)
    try:
        return ModelConfig(
            vocab_size, max_length, embedding_dim, hidden_dim, num_layers, num_classes
        )
    except InvalidInputError as error:
        raise CheckpointError(f"{path}: {error}") from error


def build_model(path: Path, config: ModelConfig, state: State) -> GRUClassifier:
    """A model in eval mode that holds `state`; torch's random numbers are left alone.

    The model computes in float32. Weights of narrower floating dtypes convert exactly; float64
    ones are rounded to the nearest float32, less than the float32 arithmetic itself rounds.

    Raises:
        CheckpointError: naming each tensor that is missing, unexpected, of another shape, or
            holds something else than finite floats in float32 range.
    """
    refuse_misfits(path, state, slots_of(config))
    with torch.random.fork_rng(devices=[]):
        model = GRUClassifier(config)  # as large as the weights that are here already
    model.load_state_dict({key: _float32(tensor) for key, tensor in state.items()}, assign=True)
    return model.eval()


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the state_dict, in order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def slots_of(config: ModelConfig) -> dict[str, Slot]:
    """The shapes of a model's weights by name, without the model, which may be of any size.

    torch's own way to do without it, the meta device, takes four seconds to import.
    """
    width, hidden, gates = config.embedding_dim, config.hidden_dim, 3 * config.hidden_dim
    shapes = {
        "embedding.weight": [config.vocab_size, width],
        "pos_encoder.positional_encoding.weight": [config.max_length, width],
    }
    for layer in range(config.num_layers):
        shapes[f"rnn_lay.weight_ih_l{layer}"] = [gates, hidden if layer else width]
        shapes[f"rnn_lay.weight_hh_l{layer}"] = [gates, hidden]
        shapes |= {f"rnn_lay.{name}_l{layer}": [gates] for name in ("bias_ih", "bias_hh")}
    classes = config.num_classes
    shapes |= {"fc_lay.weight": [classes, hidden], "fc_lay.bias": [classes]}
    return {name: Slot(shape) for name, shape in shapes.items()}


def _float32(tensor: Tensor) -> Tensor:
    # A copy of its own: tensors of one file may share memory, which safetensors cannot save.
    return tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def names_of(state: State) -> str:
    """Its first names, for an error."""
    shown = ", ".join(sorted(state)[:_SHOWN])
    return f"{shown}, …" if len(state) > _SHOWN else shown or "none"
