"""How each engine is built for a measurement, on a given number of threads.

Measured are the engines that have a line in the picture. One that reads a graph by itself runs the
baseline's; each other has a builder here.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.models import Subject
from pe_deploy.bundle.artifacts import C_SOURCE, TORCHSCRIPT
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.config import INPUT_IDS
from pe_deploy.errors import InvalidInputError
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.engines import ENGINES, Predictor
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

OURS = "pe_deploy"
BASELINE = "baseline"


def _baseline(subject: Subject, threads: int) -> Predictor:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(subject.plain, options, providers=["CPUExecutionProvider"])

    def run(ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        logits: NDArray[np.floating[Any]] = session.run(None, {INPUT_IDS: ids})[0]
        return logits

    return run


def _torchscript(subject: Subject, threads: int) -> Predictor:
    """The plain module, scripted and frozen; the bundle's own `model.pt` where there is none."""
    import torch

    from pe_deploy.runtime.torchscript import jit_deprecation_ignored

    with jit_deprecation_ignored():
        if subject.config is None:
            data = io.BytesIO(open_bundle(subject.bundle).read(TORCHSCRIPT))
            module = torch.jit.load(data, map_location="cpu")  # type: ignore[no-untyped-call]
        else:
            module = torch.jit.freeze(torch.jit.script(subject.module()))
    return _torch_run(module, threads)


def _compile(subject: Subject, threads: int) -> Predictor:
    import torch

    return _torch_run(torch.compile(subject.module(), dynamic=True), threads)


def _c(subject: Subject, threads: int) -> Predictor:
    """As an app runs it, with every check on; compiled anew."""
    from pe_deploy.runtime.native import NativeClassifier, proved

    bundle = open_bundle(subject.bundle)
    return NativeClassifier(bundle, build=proved(bundle), num_threads=threads).predict_logits


def _torch_run(module: Callable[..., Any], threads: int) -> Predictor:
    import torch

    torch.set_num_threads(threads)

    def run(ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            logits: NDArray[np.floating[Any]] = module(torch.from_numpy(ids)).numpy()
        return logits

    return run


_BUILDERS: dict[str, Callable[[Subject, int], Predictor]] = {
    # As an app runs it: validation, guards and wrapper are on.
    OURS: lambda subject, count: OnnxClassifier(subject.bundle, num_threads=count).predict_logits,
    BASELINE: _baseline,
    "eager": lambda subject, count: _torch_run(subject.module(), count),
    "torchscript": _torchscript,
    "c": _c,
    "compile": _compile,
}

MEASURED = tuple(engine.name for engine in ENGINES.values() if engine.line)

USUAL_ENGINES = tuple(name for name in MEASURED if name != "compile")
"""torch.compile takes up to a minute before its first answer, so it is measured when asked for."""


def build(name: str, subject: Subject, threads: int) -> Predictor:
    """Make an engine ready in this process.

    Raises:
        MissingDependencyError: its package does not load.
    """
    if name in _BUILDERS:
        return _BUILDERS[name](subject, threads)
    run: Predictor = ENGINES[name].load()(subject.plain, threads)
    return run


def check_engines(names: Sequence[str]) -> tuple[str, ...]:
    """The names in order, with pe_deploy and the baseline, which every ratio needs, in front.

    Raises:
        InvalidInputError: a name that no engine has.
    """
    for name in names:
        if name not in MEASURED:
            raise InvalidInputError(f"engine is {name!r}; allowed: {', '.join(MEASURED)}")
    return tuple(dict.fromkeys([OURS, BASELINE, *names]))


def why_not(name: str, subject: Subject) -> str:
    """Why an engine cannot run here; empty where it can."""
    if name == "c" and not subject.has_c:
        return f"the bundle holds no {C_SOURCE}"
    if reason := ENGINES[name].missing:
        return reason
    own_file = name == "torchscript" and subject.has_torchscript
    needs_module = name in ("eager", "torchscript", "compile") and not own_file
    if needs_module and not subject.has_module:
        return "the bundle does not give its torch module"
    if name == "compile" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        return "there is no C++ compiler"
    return ""
