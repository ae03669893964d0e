"""The model that a bundle was made from, as the reference to compare it with."""

from __future__ import annotations

from pathlib import Path

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import Weights
from pe_deploy.errors import CheckpointError
from pe_deploy.export.eager import reference_of
from pe_deploy.parity import Reference
from pe_deploy.training import GRUClassifier, load_checkpoint
from pe_deploy.training.state_dict import weights_sha256


def trained_reference(
    bundle: Bundle, checkpoint: str | Path, weights: Weights = "best"
) -> Reference:
    """Eager torch in float32 and in float64, of the `trained_module`."""
    return reference_of(trained_module(bundle, checkpoint, weights), bundle.manifest.signature)


def trained_module(
    bundle: Bundle, checkpoint: str | Path, weights: Weights = "best"
) -> GRUClassifier:
    """The module of a checkpoint, once it is known to be what a bundle was made from.

    Raises:
        CheckpointError: the checkpoint cannot be read, or holds another model or other weights.
    """
    trained = load_checkpoint(checkpoint, weights=weights)
    if trained.config.signature != bundle.manifest.signature:
        raise CheckpointError(
            f"{checkpoint} has {trained.config.signature}; "
            f"{bundle.path} has {bundle.manifest.signature}"
        )
    if weights_sha256(trained.model) != bundle.manifest.weights_sha256:
        raise CheckpointError(
            f"{checkpoint} holds other weights than {bundle.path} was made from "
            f"({weights} weights, if it is a checkpoint folder)"
        )
    return trained.model
