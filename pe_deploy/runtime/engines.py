"""Every engine that runs a model: the one table that proofs, reports and the bench read.

A new engine, or a new model file of a bundle, is one more entry in the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from pe_deploy.bundle.artifacts import C_SOURCE, ONNX, THROUGHPUT, TORCHSCRIPT
from pe_deploy.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pe_deploy.bundle.bundle import Bundle

Predictor = Callable[["NDArray[np.int64]"], "NDArray[np.floating[Any]]"]
"""From int64 `[batch, sequence]` to logits, of the shape that `Signature` states for the task."""


class Engine(NamedTuple):
    """One way to run a model.

    Attributes:
        name: what reports, tests and options call it.
        needs: the package that it needs beside the base install, and the extra that brings it.
        file: the file of a bundle that it runs; empty where it runs no file of one.
        loader: "module:name" of what opens it, imported when it is asked for. It takes a bundle,
            and has a method `predict_logits`; an independent one takes the bytes of the file, and
            is a predictor itself.
        settings: the keyword arguments of the loader.
        independent: whether it reads the graph in its own way, so that a proof does not rest on
            onnxruntime's; such an engine may be slow.
        mark: stands for it in the self-test's table.
        line: how matplotlib draws it in the bench's picture; empty where the bench has none.
        compiles: whether it needs a C compiler. Machines that run bundles often have none, so a
            proof goes on without it, and says so.
    """

    name: str
    needs: tuple[str, str] | None = None
    file: str = ""
    loader: str = ""
    settings: Mapping[str, Any] = {}
    independent: bool = False
    mark: str = ""
    line: Mapping[str, Any] = {}
    compiles: bool = False

    @property
    def missing(self) -> str:
        """That its package, or a compiler, is not installed; empty where it is."""
        if self.compiles:
            return _without_compiler()
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return ""
        return f"{self.needs[0]} is not installed"

    def load(self) -> Any:
        """What opens it.

        Raises:
            MissingDependencyError: its package is not installed.
        """
        if self.needs is not None and self.missing:
            package, extra = self.needs
            raise MissingDependencyError(
                f"{self.missing}; run: pip install 'pe-deploy[{extra}]'", name=package
            )
        module, _, name = self.loader.partition(":")
        return getattr(import_module(module), name)

    def predictor(self, bundle: Bundle) -> Predictor:
        """Open it on a bundle's file.

        Raises:
            MissingDependencyError: its package is not installed, or does not load; or there is no
                compiler.
            BundleError: the bundle does not hold the file, or the engine does not load it.
        """
        load = self.load()
        predictor: Predictor = (
            load(bundle.read(self.file))
            if self.independent
            else load(bundle, **self.settings).predict_logits
        )
        return predictor

    def call(self, bundle: str, input_ids: str) -> str:
        """The Python that runs it on an input by itself; empty for an independent engine."""
        if not self.loader or self.independent:
            return ""
        module, _, name = self.loader.partition(":")
        arguments = ", ".join([repr(bundle), *(f"{k}={v!r}" for k, v in self.settings.items())])
        answer = f"{name}({arguments}).predict_logits({input_ids})"
        return f"from {module} import {name}; print({answer})"


_TORCH, _ONNX, _OPENVINO = ("torch", "train"), ("onnx", "train"), ("openvino", "openvino")
_TORCHSCRIPT_LOADER = "pe_deploy.runtime.torchscript:TorchScriptClassifier"
_ONNX_LOADER = "pe_deploy.runtime.onnx:OnnxClassifier"
_FEW: Mapping[str, Any] = {"num_threads": 1, "form": "latency"}
_MANY: Mapping[str, Any] = {"num_threads": 1, "form": "throughput"}
_REFERENCE = "pe_deploy.runtime.reference"

# Torch's own format leads: without exact torch, the first engine is the reference. The colours of
# the lines are apart for every eye.
_TABLE = (
    Engine("pe_deploy", line={"color": "black", "marker": "o", "linewidth": 2.5, "zorder": 3}),
    Engine("baseline", line={"color": "0.5", "marker": "o", "linewidth": 2, "linestyle": "--"}),
    Engine("eager", _TORCH, line={"color": "#56b4e9", "marker": "s"}),
    Engine(
        "torchscript",
        _TORCH,
        TORCHSCRIPT,
        _TORCHSCRIPT_LOADER,
        mark="○",
        line={"color": "#009e73", "marker": "^"},
    ),
    Engine("onnx", None, ONNX, _ONNX_LOADER, _FEW, mark="●"),
    Engine("throughput", None, THROUGHPUT, _ONNX_LOADER, _MANY, mark="◆"),
    Engine("onnx-ref", _ONNX, ONNX, f"{_REFERENCE}:reference_evaluator", independent=True),
    Engine(
        "openvino",
        _OPENVINO,
        ONNX,
        f"{_REFERENCE}:openvino",
        independent=True,
        line={"color": "#cc79a7", "marker": "D"},
    ),
    Engine(
        "c",
        None,
        C_SOURCE,
        "pe_deploy.runtime.native:candidate",
        {"num_threads": 1},
        mark="□",
        line={"color": "#d55e00", "marker": "P", "linewidth": 2},
        compiles=True,
    ),
    Engine("compile", _TORCH, line={"color": "#e69f00", "marker": "v"}),
)

ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in _TABLE}


def engines_of(bundle: Bundle) -> list[str]:
    """The engines that run a bundle's own model files, each as an app does; the first leads."""
    return [
        engine.name
        for engine in ENGINES.values()
        if engine.file in bundle.files and not engine.independent
    ]


def runnable(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The engines that are not kept from running by a missing compiler; why each other is."""
    reasons = {name: ENGINES[name].missing for name in names if ENGINES[name].compiles}
    not_run = {name: reason for name, reason in reasons.items() if reason}
    return [name for name in names if name not in not_run], not_run


def _without_compiler() -> str:
    from pe_deploy.runtime.native_compiler import compiler  # few bundles hold C

    try:
        compiler()
    except MissingDependencyError as error:
        return str(error)
    return ""


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
