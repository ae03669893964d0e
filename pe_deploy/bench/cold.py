"""What an app pays before its first answer: time, memory, and room on the disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pe_deploy.bench.result import Spread, about
from pe_deploy.bench.rounds import Progress, check_seconds, in_turns
from pe_deploy.bench.tables import cold_table
from pe_deploy.bundle.artifacts import ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.errors import PeDeployError
from pe_deploy.parity import random_ids
from pe_deploy.view import html

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

_PROGRAMS = {
    "pe_deploy": (_OURS, ("numpy", "onnxruntime")),
    "raw": (_RAW, ("onnxruntime",)),
    "torch": (_TORCH, ("torch",)),
}
"""Each with the distributions that it needs."""


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

    def __repr__(self) -> str:
        times = (f"{start.name} {start.seconds.median:.3f} s" for start in self.starts)
        return f"<ColdStart {self.bundle}, import to first answer: {', '.join(times)}>"

    def _repr_html_(self) -> str:
        return html.page(f"Cold start of {self.bundle}", html.table(*cold_table(self)))


def cold_start(
    bundle: str | Path, *, seconds: float, progress: Progress | None = None
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
    check_seconds(seconds)
    opened = open_bundle(bundle)
    opened.read(ONNX)
    signature = opened.manifest.signature
    ids = random_ids(signature, 1, signature.max_length, np.random.default_rng(0)).tolist()
    with_torch = TORCHSCRIPT in opened.files and find_spec("torch") is not None
    folder = Path(bundle).resolve()
    paths = {"bundle": folder, "onnx": folder / ONNX, "torchscript": folder / TORCHSCRIPT}
    given = {"ids": ids, **{name: str(path) for name, path in paths.items()}}
    with tempfile.TemporaryDirectory() as elsewhere:
        tasks = {
            name: partial(_first_answer, name, _FRAME.format(code=code.format(**given)), elsewhere)
            for name, (code, _) in _PROGRAMS.items()
            if name != "torch" or with_torch
        }
        for first_answer in tasks.values():  # brings the files into the disk's cache
            first_answer()
        answers = in_turns(tasks, seconds, progress)
    measured = {name: np.array(pairs).T for name, pairs in answers.items()}
    starts = (
        Start(
            name,
            Spread.of(taken),
            Spread.of(taken / measured["raw"][0]),
            int(np.median(resident)),
            installed_bytes(_PROGRAMS[name][1]),
        )
        for name, (taken, resident) in measured.items()
    )
    return ColdStart(str(bundle), len(answers["raw"]), tuple(starts), about())


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
