"""Run a bundle's `model.pt` where torch is installed.

The one module of this wing that imports torch; `pe_deploy.runtime` itself does not import it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.onnx_file import is_sound
from pe_deploy.errors import BundleError
from pe_deploy.runtime.classifier import BundleClassifier, Run, in_chunks, opened_with
from pe_deploy.text.spec import TooLong


@contextmanager
def jit_deprecation_ignored() -> Iterator[None]:
    """Silence torch's notice that `torch.jit` is deprecated, and no other warning.

    TorchScript is what a bundle promises, so the notice would tell its user nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield


class TorchScriptClassifier(BundleClassifier):
    """A bundle's TorchScript model, verified before it is loaded: TorchScript is code.

    Torch's own threads do not survive a fork, and what waits for them hangs: where the parent has
    computed with more than one, call `torch.set_num_threads(1)` in the child, or spawn it.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        threshold: the probability above which a label is the answer, in place of the one that was
            published.
        public_key: a PEM file; the bundle has to be signed with its private key.
        truncation: what becomes of a text that is too long, as of `OnnxClassifier`.

    Raises:
        BundleError: the bundle is incomplete or changed, not signed with that key, holds no
            TorchScript that loads, or its weights are not finite.
        InvalidInputError: a threshold outside 0 to 1, or of a model that has none.

    >>> from pe_deploy.runtime.torchscript import TorchScriptClassifier
    >>> TorchScriptClassifier("models/demo").predict_proba([[0, 16, 8]]).shape
    (1, 10)
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        threshold: float | None = None,
        public_key: str | Path | None = None,
        truncation: TooLong | None = None,
    ) -> None:
        opened = opened_with(bundle, [TORCHSCRIPT], public_key)
        super().__init__(opened, [TORCHSCRIPT], threshold, truncation)

    def _engine_facts(self) -> list[tuple[str, object]]:
        threads = torch.get_num_threads()
        return [("threads", f"{threads}, torch's own"), ("engine", f"torch {torch.__version__}")]

    def _load(self) -> Run:
        where, model = f"{self._folder}/{TORCHSCRIPT}", self._models[TORCHSCRIPT]
        try:
            with jit_deprecation_ignored():
                module: torch.nn.Module = torch.jit.load(io.BytesIO(model), map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BundleError(
                f"{where}: torch {torch.__version__} does not load it: {line}"
            ) from error
        if not all(map(_is_sound, _tensors(module))):
            raise BundleError(f"{where}: its weights are not finite")

        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            with torch.inference_mode():
                # A copy: torch takes no array of negative strides, and warns of one that it must
                # not write to.
                logits: NDArray[np.float32] = module(torch.from_numpy(ids.copy("C"))).numpy()
            return logits

        return in_chunks(run)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor in a scripted module; where it is frozen, the weights are constants of code."""
    yield from module.state_dict().values()
    graph: Any = module.inlined_graph  # its nodes live no longer than this name
    for node in graph.findAllNodes("prim::Constant"):
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            yield node.t("value")


def _is_sound(tensor: torch.Tensor) -> bool:
    """Whether every value is finite, or the tensor is a mask."""
    return not tensor.is_floating_point() or is_sound(
        tensor.detach().double().numpy(), tensor.dim() == 0
    )
