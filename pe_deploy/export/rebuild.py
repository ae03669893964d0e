"""The torch module that a bundle was made from, built again from the weights in `model.onnx`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from pe_deploy.bundle import ONNX, Bundle
from pe_deploy.config import ModelConfig
from pe_deploy.errors import ExportError
from pe_deploy.export.weights_digest import weights_sha256
from pe_deploy.training import GRUClassifier


def rebuilt(bundle: Bundle) -> GRUClassifier:
    """The module whose weights the manifest records, in eval mode.

    Raises:
        BundleError: the bundle holds no `model.onnx`.
        ExportError: the manifest names no architecture, or the graph does not hold the weights
            that it records, each by its name (with a `max_length` of 1, the exporter folds the
            positional table).
    """
    model = onnx.load_from_string(bundle.read(ONNX))
    if bundle.manifest.model is None:
        raise ExportError(
            f"{bundle.path} does not state its architecture, which it takes to build the torch "
            "module again; allowed: a bundle exported from a checkpoint"
        )
    classifier = _classifier_of(model, ModelConfig.from_dict(bundle.manifest.model))
    if weights_sha256(classifier) != bundle.manifest.weights_sha256:
        raise ExportError(
            f"{bundle.path / ONNX} does not hold the weights that its manifest records"
        )
    return classifier


def _classifier_of(model: onnx.ModelProto, config: ModelConfig) -> GRUClassifier:
    with own_random_numbers():
        classifier = GRUClassifier(config).eval().requires_grad_(False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def read(name: str) -> Tensor:
        if name not in tensors:
            raise ExportError(
                f"{ONNX} holds no weights named {name}, which it takes to build the torch module "
                "again"
            )
        return torch.from_numpy(numpy_helper.to_array(tensors[name]).copy())

    def in_torchs_order(gates: Tensor) -> Tensor:
        update, reset, new = gates.chunk(3)
        return torch.cat([reset, update, new])

    state = {}
    for layer in range(config.num_layers):
        input_bias, state_bias = read(f"rnn_lay.B{layer}")[0].chunk(2)
        for name, gates in (
            ("weight_ih", read(f"rnn_lay.W{layer}")[0]),
            ("weight_hh", read(f"rnn_lay.R{layer}")[0]),
            ("bias_ih", input_bias),
            ("bias_hh", state_bias),
        ):
            state[f"rnn_lay.{name}_l{layer}"] = in_torchs_order(gates)
    for name in classifier.state_dict().keys() - state.keys():
        state[name] = read(name)
    classifier.load_state_dict(state)
    return classifier


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Draw weights without a trace in the caller's random numbers."""
    with torch.random.fork_rng(devices=[]):
        yield
