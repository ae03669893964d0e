"""What every engine needs, in a form that goes to another process."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import BATCH, INPUT_IDS, LOGITS, SEQUENCE, Signature, Weights
from pe_deploy.errors import ExportError, requires_extra
from pe_deploy.model_config import ModelConfig

if TYPE_CHECKING:
    from pe_deploy.training import GRUClassifier

_PLAIN_OPSET = 18
_PLAIN = "plain torch.onnx.export (dynamo=False), raw onnxruntime, no checks"
_RAW = "the bundle's model.onnx, raw onnxruntime, no wrapper"


@dataclass(frozen=True)
class Subject:
    """A bundle, and the same model in the forms that others run.

    Attributes:
        bundle: the bundle's folder.
        signature: what the model takes.
        has_torchscript: whether the bundle holds a `model.pt`.
        plain: the bytes of the ONNX file that the baseline runs.
        baseline: in words, what that is.
        config: the sizes of the torch module; None where there is none.
        state: its weights.
    """

    bundle: Path
    signature: Signature
    has_torchscript: bool
    plain: bytes
    baseline: str
    config: ModelConfig | None = None
    state: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def module(self) -> GRUClassifier:
        """The torch module in eval mode."""
        import torch

        from pe_deploy.training import GRUClassifier

        if self.config is None:
            raise ExportError(f"{self.bundle} does not give its torch module")
        module = GRUClassifier(self.config)
        module.load_state_dict({name: torch.tensor(value) for name, value in self.state.items()})
        return module.eval().requires_grad_(False)


def subject_of(
    bundle: Bundle, checkpoint: Path | None = None, weights: Weights = "best"
) -> Subject:
    """A bundle, and the plain export of its torch module where there is one.

    Without torch, or with a bundle that was not exported from a checkpoint, the baseline is the
    bundle's own graph.

    Raises:
        BundleError: the bundle holds no `model.onnx`.
        CheckpointError: the checkpoint cannot be read, or is not what the bundle was made from.
        MissingDependencyError: a checkpoint is given, and torch is not installed.
    """
    given = (bundle.path, bundle.manifest.signature, TORCHSCRIPT in bundle.files)
    model = bundle.read(ONNX)
    module, reason = _module_of(bundle, checkpoint, weights)
    if module is None:
        return Subject(*given, model, f"{_RAW} ({reason})")
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    return Subject(*given, plain_export(module), _PLAIN, module.config, state)


def _module_of(
    bundle: Bundle, checkpoint: Path | None, weights: Weights
) -> tuple[GRUClassifier | None, str]:
    """The torch module of a bundle, or None and why there is none."""
    if checkpoint is not None:
        with requires_extra("train"):
            from pe_deploy.export.trained import trained_module
        return trained_module(bundle, checkpoint, weights), ""
    if missing := [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]:
        return None, f"{missing[0]} is not installed"
    from pe_deploy.export.rebuild import rebuilt

    try:
        return rebuilt(bundle), ""
    except ExportError as error:
        return None, str(error)


def plain_export(module: GRUClassifier) -> bytes:
    """The ONNX file that `torch.onnx.export(dynamo=False)` makes, with free batch and sequence."""
    import torch

    from pe_deploy.training import torch_threads

    buffer = io.BytesIO()
    sample = torch.ones(2, module.config.max_length, dtype=torch.int64)
    with torch_threads(1), warnings.catch_warnings():
        # torch has much to say of its old exporter, which is measured here and not recommended.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (sample,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=_PLAIN_OPSET,
            input_names=[INPUT_IDS],
            output_names=[LOGITS],
            dynamic_axes={INPUT_IDS: {0: BATCH, 1: SEQUENCE}, LOGITS: {0: BATCH}},
        )
    return buffer.getvalue()
