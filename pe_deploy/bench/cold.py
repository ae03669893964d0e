"""What an app pays before its first answer: time, memory, and room on the disk."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pe_deploy.bench.result import Spread, about
from pe_deploy.bundle import ONNX, TORCHSCRIPT, open_bundle
from pe_deploy.errors import InvalidInputError, PeDeployError
from pe_deploy.parity import random_ids

_FEWEST_ROUNDS = 3

_FRAME = """
import sys, time
started = time.perf_counter()
{code}
taken = time.perf_counter() - started
import json, resource
try:
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * resource.getpagesize()
except OSError:
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
print(json.dumps([taken, resident, len(answer)]))
"""

_OURS = """
from pe_deploy import OnnxClassifier
import numpy
classifier = OnnxClassifier({bundle!r}, num_threads=1)
answer = classifier.predict_logits(numpy.array({ids}))
"""

_RAW = """
import onnxruntime
import numpy
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({onnx!r}, options, providers=["CPUExecutionProvider"])
answer = session.run(None, {{"input_ids": numpy.array({ids})}})[0]
"""

_TORCH = """
import warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
model = torch.jit.load({torchscript!r})
with torch.inference_mode():
    answer = model(torch.tensor({ids})).numpy()
"""

_NEEDS = {"pe_deploy": ("numpy", "onnxruntime"), "raw": ("onnxruntime",), "torch": ("torch",)}


@dataclass(frozen=True)
class Start:
    """One way to a first answer.

    Attributes:
        name: "pe_deploy", "raw" (onnxruntime on the same `model.onnx`) or "torch" (`model.pt`).
        seconds: from the first import to the first answer; the interpreter's own start is left out.
        times_raw: the same as a multiple of "raw" in the same round.
        resident_bytes: memory of the process after that answer; the median.
        installed_bytes: the files of the distributions that it needs; 0 where pip knows none.
    """

    name: str
    seconds: Spread
    times_raw: Spread
    resident_bytes: int
    installed_bytes: int


@dataclass(frozen=True)
class ColdStart:
    """All ways to a first answer, measured in turns, each in fresh processes."""

    bundle: str
    rounds: int
    starts: tuple[Start, ...]
    about: dict[str, str | int]


def cold_start(
    bundle: str | Path,
    *,
    seconds: float,
    progress: Callable[[float], None] | None = None,
) -> ColdStart:
    """Measure import to first answer beside raw onnxruntime, and beside torch where it is there.

    Where Python may not keep what it compiles (`PYTHONDONTWRITEBYTECODE`, with an editable install
    of pe_deploy), this measures the compiler: unset it.

    Args:
        bundle: the bundle's folder; it has to hold a `model.onnx`.
        seconds: about how long to measure; each way is tried at least three times.
        progress: called with the share that is done, 0 to 1.

    Raises:
        InvalidInputError: `seconds` is not above 0.
        BundleError: the bundle cannot be opened, or holds no `model.onnx`.
        PeDeployError: a process fails.
    """
    if not 0 < seconds < float("inf"):
        raise InvalidInputError(f"seconds is {seconds}; allowed: above 0")
    opened = open_bundle(bundle)
    opened.read(ONNX)
    signature = opened.manifest.signature
    ids = random_ids(signature, 1, signature.max_length, np.random.default_rng(0)).tolist()
    folder = Path(bundle).resolve()
    programs = {"pe_deploy": _OURS, "raw": _RAW}
    if TORCHSCRIPT in opened.files and find_spec("torch") is not None:
        programs["torch"] = _TORCH
    paths = {"bundle": str(folder), "onnx": str(folder / ONNX)}
    codes = {
        name: _FRAME.format(
            code=code.format(**paths, torchscript=str(folder / TORCHSCRIPT), ids=ids)
        )
        for name, code in programs.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in codes}
    resident: dict[str, list[int]] = {name: [] for name in codes}
    order = list(codes)
    shuffled = random.Random(0)
    with tempfile.TemporaryDirectory() as elsewhere:
        for name in order:  # brings the files into the disk's cache
            _first_answer(name, codes[name], elsewhere)
        started = time.perf_counter()
        while (rounds := len(taken["raw"])) < _FEWEST_ROUNDS or (
            time.perf_counter() - started < seconds
        ):
            shuffled.shuffle(order)
            for name in order:
                spent, held = _first_answer(name, codes[name], elsewhere)
                taken[name].append(spent)
                resident[name].append(held)
            if progress is not None:
                progress(min(1.0, (time.perf_counter() - started) / seconds))
    starts = (
        Start(
            name,
            Spread.of(taken[name]),
            Spread.of([own / raw for own, raw in zip(taken[name], taken["raw"], strict=True)]),
            int(np.median(resident[name])),
            installed_bytes(_NEEDS[name]),
        )
        for name in codes
    )
    return ColdStart(str(bundle), rounds, tuple(starts), about())


def _first_answer(name: str, code: str, folder: str) -> tuple[float, int]:
    """Seconds from import to answer, and resident bytes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise PeDeployError(f"the cold start of {name} fails: {reason}")
    spent, held, _ = json.loads(done.stdout.splitlines()[-1])
    return spent, held


def installed_bytes(names: tuple[str, ...]) -> int:
    """The size of these distributions and of all that they need, extras aside."""
    waiting, seen, total = list(names), set[str](), 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # a requirement of another system or Python
            continue
        for file in found.files or []:
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
        for requirement in found.requires or []:
            wanted = re.match(r"[\w.-]+", requirement)
            if wanted and "extra ==" not in requirement:
                waiting.append(wanted[0])
    return total
