"""Run a bundle's `model.onnx` with numpy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import ONNX, Bundle, open_bundle
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.runtime.bundled import BundleClassifier
from pe_deploy.runtime.classifier import Run
from pe_deploy.runtime.processors import usable_processors
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort
from pe_deploy.runtime.replay import replay

CPU = "CPUExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by name, or by name with its options."""


class OnnxClassifier(BundleClassifier):
    """A bundle's ONNX model on onnxruntime, verified when opened.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        providers: onnxruntime execution providers, in order of preference.
        num_threads: threads of one run; by default the processors that this process may use, by
            its affinity and its container's quota. A copy in another process counts its own.
        self_test: replay the bundle's golden vectors first, logits and labels, to see that this
            machine, runtime and provider compute the model that was published.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Raises:
        BundleError: the bundle is incomplete or changed, not signed with that key, or onnxruntime
            does not load its model.
        ParityError: by its self-test, the model answers otherwise than was published.
        InvalidInputError: a provider that this onnxruntime does not have, or fewer than 1 thread.
    """

    providers: tuple[str, ...]
    """The execution providers that onnxruntime runs the model on, in order."""

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        providers: Sequence[Provider] = (CPU,),
        num_threads: int | None = None,
        self_test: bool = False,
        public_key: str | Path | None = None,
    ) -> None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        _check_threads(num_threads)
        _check_providers(providers)
        self._num_threads = num_threads
        self._wanted = list(providers)
        super().__init__(opened, ONNX, public_key)
        if self_test:
            engine = f"onnxruntime {ort.__version__}, {', '.join(self.providers)}"
            name = f"{self._where} on {engine}"
            decide = self._decide
            replay(self.predict_logits, opened.golden(), name, lambda logits: decide(logits)[0])

    def _load(self, model: bytes) -> Run:
        options = _session_options(self._num_threads)
        try:
            session = ort.InferenceSession(model, options, providers=self._wanted)
        except Exception as error:
            line = " ".join(str(error).split())
            raise BundleError(
                f"{self._where}: onnxruntime {ort.__version__} does not load it: {line}"
            ) from error
        self.providers = tuple(session.get_providers())

        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = session.run([LOGITS], {INPUT_IDS: ids})[0]
            return logits

        return run


def _check_providers(providers: Sequence[Provider]) -> None:
    available = ort.get_available_providers()
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    if isinstance(providers, str) or not set(names) <= set(available):
        raise InvalidInputError(
            f"providers are {providers!r}; allowed: a list of {', '.join(available)}"
        )


def _check_threads(num_threads: int | None) -> None:
    if num_threads is not None and (type(num_threads) is not int or num_threads < 1):
        raise InvalidInputError(f"num_threads is {num_threads!r}; allowed: 1 or more")


def _session_options(num_threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads or usable_processors()
    options.inter_op_num_threads = 1
    # The arena never gives back what the largest request took.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # what goes wrong arrives as an exception, once
    return options
