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

from pe_deploy.bench.quiet import descriptors_silenced
from pe_deploy.bundle.artifacts import C_SOURCE, ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle, open_bundle
from pe_deploy.config import BATCH, INPUT_IDS, LOGITS, SEQUENCE, Signature
from pe_deploy.errors import ExportError, line_of, requires_extra
from pe_deploy.model_config import ModelConfig, TrainedFrom

if TYPE_CHECKING:
    from torch import nn

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
        has_c: whether it holds a `model.c`.
        plain: the bytes of the ONNX file that the baseline runs.
        baseline: in words, what that is.
        config: the sizes of the notebook's module; None where it is another or there is none.
        state: its weights.
        trained: where a user's own module is to be had.
    """

    bundle: Path
    signature: Signature
    has_torchscript: bool
    has_c: bool
    plain: bytes
    baseline: str
    config: ModelConfig | None = None
    state: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    trained: TrainedFrom | None = None

    @property
    def has_module(self) -> bool:
        """Whether there is a torch module."""
        return self.config is not None or self.trained is not None

    def module(self) -> nn.Module:
        """The torch module in eval mode."""
        import torch

        from pe_deploy.training import GRUClassifier

        if self.trained is not None:
            from pe_deploy.export.trained import trained_module

            return trained_module(open_bundle(self.bundle), self.trained)
        if self.config is None:
            raise ExportError(f"{self.bundle} does not give its torch module")
        module = GRUClassifier(self.config)
        module.load_state_dict({name: torch.tensor(value) for name, value in self.state.items()})
        return module.eval().requires_grad_(False)


def subject_of(bundle: Bundle, trained: TrainedFrom | None = None) -> Subject:
    """A bundle, and the plain export of its torch module where there is one.

    Without torch, or with a bundle that was not exported from a checkpoint, the baseline is the
    bundle's own graph.

    Raises:
        BundleError: the bundle holds no `model.onnx`.
        CheckpointError: the checkpoint cannot be read, or is not what the bundle was made from.
        MissingDependencyError: a checkpoint is given, and torch is not installed.
    """
    held = bundle.files
    given = (bundle.path, bundle.manifest.signature, TORCHSCRIPT in held, C_SOURCE in held)
    model = bundle.read(ONNX)
    module, reason = _module_of(bundle, trained)
    if module is None:
        return Subject(*given, model, f"{_RAW} ({reason})")
    if isinstance(module, _notebooks()):
        state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
        plain = plain_export(module, bundle.manifest.signature)
        return Subject(*given, plain, _PLAIN, module.config, state)
    try:
        plain, baseline = plain_export(module, bundle.manifest.signature), _PLAIN
    except Exception as error:  # noqa: BLE001 - torch's old exporter fails in any way
        plain, baseline = model, f"{_RAW} (plain torch.onnx.export fails: {line_of(error)[:80]})"
    return Subject(*given, plain, baseline, trained=trained)


def _notebooks() -> type[GRUClassifier]:
    from pe_deploy.training import GRUClassifier

    return GRUClassifier


def _module_of(bundle: Bundle, trained: TrainedFrom | None) -> tuple[nn.Module | None, str]:
    """The torch module of a bundle, or None and why there is none."""
    if trained is not None:
        with requires_extra("train"):
            from pe_deploy.export.trained import trained_module
        return trained_module(bundle, trained), ""
    if missing := [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]:
        return None, f"{missing[0]} is not installed"
    from pe_deploy.export.rebuild import rebuilt

    try:
        return rebuilt(bundle), ""
    except ExportError as error:
        return None, str(error)


def plain_export(module: nn.Module, signature: Signature) -> bytes:
    """The ONNX file that `torch.onnx.export(dynamo=False)` makes, with free batch and sequence."""
    import torch

    from pe_deploy.training import torch_threads

    buffer = io.BytesIO()
    token = 1 if signature.pad_id == 0 else 0
    sample = torch.full((2, signature.max_length), token)
    axes = {
        place: axis for place, axis in enumerate(signature.output_axes) if axis in (BATCH, SEQUENCE)
    }
    with torch_threads(1), descriptors_silenced(), warnings.catch_warnings():
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
            dynamic_axes={INPUT_IDS: {0: BATCH, 1: SEQUENCE}, LOGITS: axes},
        )
    return buffer.getvalue()
