"""The engines: each maps int64 `[batch, sequence]` to logits, on a given number of threads.

A new one, or another form of a graph, is one more entry in `_BUILDERS`.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.subject import Subject
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import InvalidInputError
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

Run = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
"""From int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`."""

OURS = "pe_deploy"
BASELINE = "baseline"


def _pe_deploy(subject: Subject, threads: int) -> Run:
    """As an app runs it: validation, guards and wrapper are on."""
    return OnnxClassifier(subject.bundle, num_threads=threads).predict_logits


def _baseline(subject: Subject, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(subject.plain, options, providers=["CPUExecutionProvider"])

    def run(ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        logits: NDArray[np.floating[Any]] = session.run(None, {INPUT_IDS: ids})[0]
        return logits

    return run


def _eager(subject: Subject, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    return _torch_run(subject.module())


def _torchscript(subject: Subject, threads: int) -> Run:
    """The plain module, scripted and frozen; the bundle's own `model.pt` where there is none."""
    import torch

    from pe_deploy.bundle import TORCHSCRIPT, open_bundle
    from pe_deploy.runtime.torchscript import jit_deprecation_ignored

    torch.set_num_threads(threads)
    with jit_deprecation_ignored():
        if subject.config is None:
            data = io.BytesIO(open_bundle(subject.bundle).read(TORCHSCRIPT))
            return _torch_run(torch.jit.load(data, map_location="cpu"))  # type: ignore[no-untyped-call]
        return _torch_run(torch.jit.freeze(torch.jit.script(subject.module())))


def _compile(subject: Subject, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    return _torch_run(torch.compile(subject.module(), dynamic=True))


def _torch_run(module: Callable[..., Any]) -> Run:
    import torch

    def run(ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            logits: NDArray[np.floating[Any]] = module(torch.from_numpy(ids)).numpy()
        return logits

    return run


def _openvino(subject: Subject, threads: int) -> Run:
    """OpenVINO's quickest call: one request that shares its memory with the caller."""
    import openvino as ov

    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where processors have it
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(core.read_model(subject.plain), "CPU", settings)
    request = compiled.create_infer_request()

    def run(ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        answers = request.infer({INPUT_IDS: ids}, share_inputs=True, share_outputs=True)
        logits: NDArray[np.floating[Any]] = answers[LOGITS]
        return logits

    return run


_BUILDERS: dict[str, Callable[[Subject, int], Run]] = {
    OURS: _pe_deploy,
    BASELINE: _baseline,
    "eager": _eager,
    "torchscript": _torchscript,
    "openvino": _openvino,
    "compile": _compile,
}

ENGINES = tuple(_BUILDERS)

USUAL_ENGINES = tuple(name for name in ENGINES if name != "compile")
"""torch.compile takes up to a minute before its first answer, so it is measured when asked for."""


def build(name: str, subject: Subject, threads: int) -> Run:
    """Make an engine ready in this process."""
    return _BUILDERS[name](subject, threads)


def check_engines(names: Sequence[str]) -> tuple[str, ...]:
    """The names in order, with pe_deploy and the baseline, which every ratio needs, in front.

    Raises:
        InvalidInputError: a name that no engine has.
    """
    for name in names:
        if name not in ENGINES:
            raise InvalidInputError(f"engine is {name!r}; allowed: {', '.join(ENGINES)}")
    return tuple(dict.fromkeys([OURS, BASELINE, *names]))


def why_not(name: str, subject: Subject) -> str:
    """Why an engine cannot run here; empty where it can."""
    if name in (OURS, BASELINE):
        return ""
    package = "openvino" if name == "openvino" else "torch"
    if find_spec(package) is None:
        return f"{package} is not installed"
    if name == "torchscript" and (subject.config or subject.has_torchscript):
        return ""
    if name != "openvino" and subject.config is None:
        return "the bundle does not give its torch module"
    if name == "compile" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        return "there is no C++ compiler"
    return ""
