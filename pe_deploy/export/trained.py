"""The model that a bundle was made from, as the reference to compare it with."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import Weights
from pe_deploy.errors import CheckpointError
from pe_deploy.export.adapt.loading import load_module
from pe_deploy.export.any_module import source_of, stated_by
from pe_deploy.export.compact import rounded
from pe_deploy.export.eager import reference_of
from pe_deploy.model_config import TrainedFrom
from pe_deploy.parity import Reference
from pe_deploy.training import GRUClassifier, load_checkpoint
from pe_deploy.training.checkpoint import is_run
from pe_deploy.training.state_dict import weights_sha256


def trained_reference(bundle: Bundle, trained: TrainedFrom) -> Reference:
    """Eager torch in float32 and in float64, of the `trained_module`; as `reference_for`."""
    return reference_for(bundle, loaded(bundle, trained))


def trained_module(bundle: Bundle, trained: TrainedFrom) -> nn.Module:
    """The module, from ids to logits, once it is known to be what a bundle was made from.

    Where the bundle's weights were rounded, so are the module's.

    Raises:
        CheckpointError: it cannot be read, or is another model or has other weights.
        ExportError: a user's module cannot be loaded, or does not fit the bundle's signature.
    """
    return _rounded(bundle, loaded(bundle, trained))


def reference_for(bundle: Bundle, module: nn.Module) -> Reference:
    """A trained module as the reference of a bundle; beside it, where that is rounded, as it is.

    Raises:
        ExportError: a weight is beyond what the bundle's type holds.
    """
    signature, made = bundle.manifest.signature, _rounded(bundle, module)
    return reference_of(made, signature, None if made is module else module)


def _rounded(bundle: Bundle, module: nn.Module) -> nn.Module:
    compact = bundle.manifest.compact
    return module if compact is None else rounded(module, compact.dtype)


def loaded(bundle: Bundle, trained: TrainedFrom) -> nn.Module:
    """The module with the weights that it was trained to."""
    if trained.is_module:
        return _of_a_file(bundle, trained)
    weights: Weights = "last" if trained.weights == "last" else "best"
    return _of_a_checkpoint(bundle, Path(trained.place), weights)


def _of_a_file(bundle: Bundle, trained: TrainedFrom) -> nn.Module:
    manifest = bundle.manifest
    signature = manifest.signature
    source = source_of(
        load_module(trained.place, trained.weights, trained.arguments),
        stated_by(signature),
        labels=manifest.labels,
        threshold=manifest.threshold,
        outputs="probabilities" if (manifest.origin or {}).get("left_out") else "logits",
    )
    if source.weights_sha256 != _trained_sha256(bundle):
        raise CheckpointError(
            f"{trained.place} with {trained.weights or 'its own weights'} has other weights than "
            f"{bundle.path} was made from"
        )
    return source.module


def _of_a_checkpoint(bundle: Bundle, checkpoint: Path, weights: Weights) -> GRUClassifier:
    padding = None if is_run(checkpoint) else bundle.manifest.signature.pad_id
    trained = load_checkpoint(checkpoint, weights=weights, pad_id=padding)
    if trained.config.signature != bundle.manifest.signature:
        raise CheckpointError(
            f"{checkpoint} has {trained.config.signature}; "
            f"{bundle.path} has {bundle.manifest.signature}"
        )
    if weights_sha256(trained.model) != _trained_sha256(bundle):
        raise CheckpointError(
            f"{checkpoint} holds other weights than {bundle.path} was made from "
            f"({weights} weights, if it is a checkpoint folder)"
        )
    return trained.model


def _trained_sha256(bundle: Bundle) -> str:
    """The digest of the weights before they were rounded, if they were."""
    compact = bundle.manifest.compact
    return bundle.manifest.weights_sha256 if compact is None else compact.trained_sha256
