"""The torch module that a bundle was made from, built again from the weights in `model.onnx`."""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import ExportError
from pe_deploy.export.passes.compact import expanded
from pe_deploy.model_config import ModelConfig
from pe_deploy.training import GRUClassifier
from pe_deploy.training.state_dict import build_model, weights_sha256


def rebuilt(bundle: Bundle) -> GRUClassifier:
    """The module whose weights the manifest records, in eval mode.

    Raises:
        BundleError: the bundle holds no `model.onnx`.
        CheckpointError: its weights do not fit the architecture.
        ExportError: the manifest names no architecture, or the graph does not hold the weights
            that it records, each by its name (with a `max_length` of 1, the exporter folds the
            positional table).
    """
    model = expanded(onnx.load_from_string(bundle.read(ONNX)))
    if bundle.manifest.model is None:
        raise ExportError(
            f"{bundle.path} does not state its architecture, which it takes to build the torch "
            "module again; allowed: a bundle exported from a checkpoint"
        )
    config = ModelConfig.from_dict(bundle.manifest.model)
    classifier = build_model(bundle.path / ONNX, config, _state_of(model, config.num_layers))
    classifier.requires_grad_(False)
    if weights_sha256(classifier) != bundle.manifest.weights_sha256:
        raise ExportError(
            f"{bundle.path / ONNX} does not hold the weights that its manifest records"
        )
    return classifier


def _state_of(model: onnx.ModelProto, num_layers: int) -> dict[str, Tensor]:
    """The state_dict that `OnnxGRU` and the exporter wrote into a graph."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def read(name: str) -> Tensor:
        if name not in tensors:
            raise ExportError(
                f"{ONNX} holds no weights named {name}, which it takes to build the torch module "
                "again"
            )
        return torch.from_numpy(numpy_helper.to_array(tensors[name]).copy())

    as_in_torch = ("embedding", "pos_encoder.positional_encoding", "fc_lay")
    state = {name: read(name) for name in (*(f"{of}.weight" for of in as_in_torch), "fc_lay.bias")}
    for layer in range(num_layers):
        biases = read(f"rnn_lay.B{layer}")[0].chunk(2)
        weights = [read(f"rnn_lay.{name}{layer}")[0] for name in ("W", "R")]
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for name, gates in zip(names, (*weights, *biases), strict=True):
            update, reset, new = gates.chunk(3)
            state[f"rnn_lay.{name}_l{layer}"] = torch.cat([reset, update, new])
    return state
