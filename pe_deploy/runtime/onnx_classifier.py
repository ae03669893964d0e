"""Run a bundle's `model.onnx` with numpy and onnxruntime alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pe_deploy.bundle import ONNX, Bundle, open_bundle
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.runtime.classifier import Classifier
from pe_deploy.runtime.replay import replay

CPU = "CPUExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by name, or by name with its options."""


class OnnxClassifier(Classifier):
    """A bundle's ONNX model on onnxruntime, verified when opened.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        providers: onnxruntime execution providers, in order of preference.
        num_threads: threads of one run; by default the processors this process may use.
        self_test: replay the bundle's golden vectors first, to see that this machine, runtime and
            provider compute the model that was published.

    Raises:
        BundleError: the bundle is incomplete or changed, or onnxruntime does not load its model.
        ParityError: by its self-test, the model answers otherwise than was published.
        InvalidInputError: a provider that this onnxruntime does not have, or fewer than 1 thread.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        providers: Sequence[Provider] = (CPU,),
        num_threads: int | None = None,
        self_test: bool = False,
    ) -> None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        super().__init__(opened.manifest)
        options = _session_options(num_threads)
        _check_providers(providers)
        model = opened.read(ONNX)
        try:
            self._session = ort.InferenceSession(model, options, providers=list(providers))
        except Exception as error:
            line = " ".join(str(error).split())
            raise BundleError(
                f"{opened.path / ONNX}: onnxruntime {ort.__version__} does not load it: {line}"
            ) from error
        if self_test:
            engine = f"onnxruntime {ort.__version__}, {', '.join(self.providers)}"
            replay(self.predict_logits, opened.golden(), f"{opened.path / ONNX} on {engine}")

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that onnxruntime runs the model on, in order."""
        return tuple(self._session.get_providers())

    def _run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run([LOGITS], {INPUT_IDS: ids})[0]
        return logits


def _check_providers(providers: Sequence[Provider]) -> None:
    available = ort.get_available_providers()
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    if isinstance(providers, str) or not set(names) <= set(available):
        raise InvalidInputError(
            f"providers are {providers!r}; allowed: a list of {', '.join(available)}"
        )


def _session_options(num_threads: int | None) -> ort.SessionOptions:
    if num_threads is None:
        num_threads = _usable_processors()
    elif type(num_threads) is not int or num_threads < 1:
        raise InvalidInputError(f"num_threads is {num_threads!r}; allowed: 1 or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # The arena never gives back what the largest request took.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # what goes wrong arrives as an exception, once
    return options


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
