"""Every engine that runs a model: the one table that proofs, reports and the bench read.

A new engine, or a new model file of a bundle, is one more entry in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT, TORCHSCRIPT
from pe_deploy.errors import MissingDependencyError, requires_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pe_deploy.bundle import Bundle

Predictor = Callable[["NDArray[np.int64]"], "NDArray[np.floating[Any]]"]
"""From int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`."""


class Engine(NamedTuple):
    """One way to run a model.

    Attributes:
        name: what reports, tests and options call it.
        file: the file of a bundle that it runs; empty where it runs no file of one.
        loader: "module:name" of what opens it, imported when it is asked for. It takes a bundle,
            and has a method `predict_logits`; an independent one takes the bytes of the file, and
            is a predictor itself.
        settings: the keyword arguments of the loader.
        package: what has to be installed beside the base install; empty where nothing has to.
        extra: the extra that brings it.
        independent: whether it reads the graph in its own way, so that a proof does not rest on
            onnxruntime's; such an engine may be slow.
        mark: stands for it in the self-test's table.
        line: how matplotlib draws it in the bench's picture; empty where the bench has none.
    """

    name: str
    file: str = ""
    loader: str = ""
    settings: Mapping[str, Any] = {}
    package: str = ""
    extra: str = ""
    independent: bool = False
    mark: str = ""
    line: Mapping[str, Any] = {}

    @property
    def missing(self) -> str:
        """Why its package cannot be imported, in a line that says what to install; else empty."""
        if not self.package or find_spec(self.package) is not None:
            return ""
        return f"{self.package} is not installed; run: pip install 'pe-deploy[{self.extra}]'"

    def load(self) -> Any:
        """What opens it.

        Raises:
            MissingDependencyError: its package is not installed.
        """
        if self.missing:
            raise MissingDependencyError(self.missing, name=self.package)
        module, _, name = self.loader.partition(":")
        with requires_extra(self.extra):
            return getattr(import_module(module), name)

    def predictor(self, bundle: Bundle) -> Predictor:
        """Open it on a bundle's file.

        Raises:
            MissingDependencyError: its package is not installed, or does not load.
            BundleError: the bundle does not hold the file, or the engine does not load it.
        """
        if self.independent:
            predictor: Predictor = self.load()(bundle.read(self.file))
            return predictor
        opened: Predictor = self.load()(bundle, **self.settings).predict_logits
        return opened

    def call(self, bundle: str, input_ids: str) -> str:
        """The Python that runs it on an input by itself; empty for an independent engine."""
        if not self.loader or self.independent:
            return ""
        module, _, name = self.loader.partition(":")
        arguments = ", ".join([repr(bundle), *(f"{k}={v!r}" for k, v in self.settings.items())])
        return (
            f"from {module} import {name}; print({name}({arguments}).predict_logits({input_ids}))"
        )


_CLASSIFIER = "pe_deploy.runtime.onnx:OnnxClassifier"
_REFERENCE = "pe_deploy.runtime.reference"

# Torch's own format comes first: without exact torch, the first engine is the reference. The
# colours of the lines are apart for every eye.
ENGINES = {
    engine.name: engine
    for engine in (
        Engine("pe_deploy", line={"color": "black", "marker": "o", "linewidth": 2.5, "zorder": 3}),
        Engine("baseline", line={"color": "0.5", "marker": "o", "linewidth": 2, "linestyle": "--"}),
        Engine("eager", package="torch", extra="train", line={"color": "#56b4e9", "marker": "s"}),
        Engine(
            "torchscript",
            TORCHSCRIPT,
            "pe_deploy.runtime.torchscript:TorchScriptClassifier",
            package="torch",
            extra="train",
            mark="○",
            line={"color": "#009e73", "marker": "^"},
        ),
        Engine("onnx", ONNX, _CLASSIFIER, {"num_threads": 1, "form": "latency"}, mark="●"),
        Engine(
            "throughput",
            THROUGHPUT,
            _CLASSIFIER,
            {"num_threads": 1, "form": "throughput"},
            mark="◆",
        ),
        Engine(
            "onnx-ref",
            ONNX,
            f"{_REFERENCE}:reference_evaluator",
            package="onnx",
            extra="train",
            independent=True,
        ),
        Engine(
            "openvino",
            ONNX,
            f"{_REFERENCE}:openvino",
            package="openvino",
            extra="openvino",
            independent=True,
            line={"color": "#cc79a7", "marker": "D"},
        ),
        Engine("compile", package="torch", extra="train", line={"color": "#e69f00", "marker": "v"}),
    )
}


def engines_of(bundle: Bundle) -> list[str]:
    """The engines that run a bundle's own model files, each as an app does; the first leads."""
    return [
        engine.name
        for engine in ENGINES.values()
        if engine.file in bundle.files and not engine.independent
    ]


def predictors(bundle: Bundle, names: Sequence[str] | None = None) -> dict[str, Predictor]:
    """A predictor for each engine, on one thread; torch on as many as it is set to.

    Run them inside `torch_threads(1)` for a result that can be repeated.

    Args:
        bundle: an open bundle.
        names: which engines; by default `engines_of` the bundle.

    Raises:
        MissingDependencyError: an engine's package is not installed, or does not load.
        BundleError: the bundle does not hold an engine's file, or the engine does not load it.
    """
    wanted = engines_of(bundle) if names is None else names
    return {name: ENGINES[name].predictor(bundle) for name in wanted}
