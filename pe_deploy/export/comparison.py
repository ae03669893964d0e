"""A module as it is in memory, beside the bundle that was made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from pe_deploy.bundle.bundle import Bundle, open_bundle
from pe_deploy.config import Weights
from pe_deploy.errors import ExportError
from pe_deploy.export.any_module import Outputs, source_of, stated_by
from pe_deploy.export.trained import loaded, reference_for
from pe_deploy.model_config import TrainedFrom
from pe_deploy.parity import CHECKS, Cell, Report, Tolerance, verify_bundle
from pe_deploy.training import torch_threads


def compare(
    module: nn.Module | str | Path,
    bundle: Bundle | str | Path,
    *,
    weights: Weights = "best",
    checks: Sequence[str] = CHECKS,
    tolerance: Tolerance | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Report:
    """Hold every model of a bundle, and the module itself in float32, against it in float64.

    The report is of that module: it fails where the bundle was made of other weights. Where the
    bundle's weights were rounded, the module's are first, and what that cost is judged too.

    Args:
        module: called as the bundle's signature says, which adapts it as `export_module` does; in
            any state of training, and not changed. Or a checkpoint, by its path.
        bundle: an open bundle, or its folder.
        weights: "best" or "last", of a checkpoint folder.
        checks: which of `pe_deploy.parity.CHECKS` to run.
        tolerance: how far apart two logits may be.
        progress: called with each finished cell; a notebook shows a bar without.

    Raises:
        ExportError: the module is not one of the bundle's signature.
        CheckpointError: the checkpoint cannot be read, or is not what the bundle was made from.
        BundleError: the bundle was changed, or a model of it does not load.

    >>> from pe_deploy.export import compare, export
    >>> made = export("weights.pt", "models/mine")
    >>> compare("weights.pt", made.bundle).passed
    True
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    with torch_threads(1):
        return verify_bundle(
            opened,
            reference_for(opened, _module_of(module, opened, weights)),
            checks=checks,
            tolerance=tolerance,
            about={"bundle": str(opened.folder)},
            progress=progress,
        )


def _module_of(module: nn.Module | str | Path, bundle: Bundle, weights: Weights) -> nn.Module:
    """A module that maps ids to logits as a bundle's signature says."""
    if not isinstance(module, nn.Module):
        return loaded(bundle, TrainedFrom(str(module), weights))
    signature = bundle.manifest.signature
    ending_left_out = "left_out" in (bundle.manifest.origin or {})
    outputs: Outputs = "probabilities" if ending_left_out else "logits"
    made = source_of(module, stated_by(signature), outputs=outputs)
    if made.signature.num_classes != signature.num_classes:
        raise ExportError(
            f"the module gives {made.signature.num_classes} classes; "
            f"{bundle.folder} has {signature.num_classes}"
        )
    return made.module
