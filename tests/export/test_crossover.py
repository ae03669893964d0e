from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pe_deploy import BundleError, InvalidInputError, ModelConfig, OnnxClassifier, open_bundle
from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT, TORCHSCRIPT
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.config import INPUT_IDS
from pe_deploy.export import ExportOptions, Source, crossover, export_module, to_onnx
from pe_deploy.export.crossover import CANDIDATES, dispatch_of, measured_crossover, tune
from pe_deploy.export.onnx import to_throughput
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime
from pe_deploy.storage.atomic import publishing
from pe_deploy.training import GRUClassifier


@pytest.mark.parametrize("true", [1, 2, 3, 23, 24, 25, 100, 449, 450, 451])
def test_bisection_finds_where_the_form_begins_to_pay(
    notebook_bundle: Path, monkeypatch: pytest.MonkeyPatch, true: int
) -> None:
    monkeypatch.setattr(crossover, "_gain", lambda *args: 1.5 if args[-1] >= true else 0.8)
    bundle = open_bundle(notebook_bundle)
    found = measured_crossover(
        bundle.read(ONNX), bundle.read(THROUGHPUT), bundle.manifest.signature
    )
    assert found == next((rows for rows in CANDIDATES if rows >= true), None)


def test_what_is_measured_is_one_of_the_candidates(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    models = bundle.read(ONNX), bundle.read(THROUGHPUT)
    assert measured_crossover(*models, bundle.manifest.signature) in (*CANDIDATES, None)


class Machine:
    """Sessions that take a stated time, and the clocks that would show it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ticks: int = 1) -> None:
        self.processor = self.day = 0
        self.ticks = ticks  # in which the processor's clock counts
        self.badly_placed: set[int] = set()
        self.busy = random.Random(0)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)
        monkeypatch.setattr(time, "thread_time_ns", self.thread_time)
        monkeypatch.setattr(time, "perf_counter_ns", self.time_of_day)

    def session(self, model: bytes, *_: object) -> Any:
        """What runs the latency form: a row takes 20 µs; or the other, with 440 µs before."""
        machine = self

        class Session:
            def run(self, _: list[str], feed: dict[str, NDArray[np.int64]]) -> None:
                rows = len(feed[INPUT_IDS])
                taken = 20_000 * rows
                if model != b"latency":
                    taken = (440_000 + 5_000 * rows) * (3 if rows in machine.badly_placed else 1)
                machine.processor += taken
                machine.day += taken

        return Session()

    def thread_time(self) -> int:
        self.processor += 100
        return self.processor // self.ticks * self.ticks

    def time_of_day(self) -> int:
        self.day += 100
        if self.ticks == 1:  # others take the processor
            self.day += self.busy.choice((0, 0, 10**7))
        return self.day


def test_what_else_the_machine_does_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    assert measured_crossover(b"latency", b"throughput", ModelConfig(12, 10).signature) == 31


def test_a_clock_in_large_steps_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, ticks=15_625_000)
    assert measured_crossover(b"latency", b"throughput", ModelConfig(12, 10).signature) == 31


def test_a_size_that_lies_badly_in_memory_is_no_crossover(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch).badly_placed = {39, 91}
    assert measured_crossover(b"latency", b"throughput", ModelConfig(12, 10).signature) == 31


@pytest.mark.parametrize(
    ("config", "chunk_rows", "own_threads"),
    [
        (ModelConfig(12, 10), 1024, False),
        (ModelConfig(50, 64, 16, 256, num_layers=2), 256, True),
        (ModelConfig(50, 8, 16, 191, num_layers=1), 512, False),
    ],
)
def test_a_wide_model_gets_smaller_chunks_and_threads_of_its_own(
    config: ModelConfig, chunk_rows: int, own_threads: bool
) -> None:
    latency = to_onnx(GRUClassifier(config), config.signature)
    throughput = to_throughput(latency, config.signature)
    found = dispatch_of(latency, throughput, config.signature, 24)
    assert (found.crossover, found.chunk_rows, found.own_threads) == (24, chunk_rows, own_threads)
    assert 1 <= found.share_rows <= 200
    assert dispatch_of(latency, None, config.signature).crossover is None


def source() -> Source:
    torch.manual_seed(0)
    model = GRUClassifier(ModelConfig(7, 4, embedding_dim=3, hidden_dim=4, num_layers=1))
    return Source(model, model.config.signature, (0, 1), 0.5, model.config.to_dict())


def test_the_form_is_left_out_where_it_is_not_wanted_or_never_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = export_module(source(), tmp_path / "without", ExportOptions(throughput=False)).bundle
    assert THROUGHPUT not in without.files
    monkeypatch.setattr(crossover, "_gain", lambda *args: 0.9)
    never = export_module(source(), tmp_path / "never").bundle
    assert THROUGHPUT not in never.files
    assert never.manifest.dispatch.crossover is None
    assert OnnxClassifier(never).predict([[1, 2]] * 1000).shape == (1000,)


def test_tuning_changes_the_crossover_and_nothing_else(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_bundle(own_bundle)
    monkeypatch.setattr(crossover, "_gain", lambda *args: 1.5 if args[-1] >= 90 else 0.8)
    after = tune(before)
    assert after.manifest.dispatch.crossover == 91
    assert after.path == own_bundle
    assert open_bundle(own_bundle).files == before.files
    assert (own_bundle / "README.md").exists()
    values = [json.loads(bundle.manifest_json) for bundle in (before, after)]
    for each in values:
        del each["dispatch"], each["manifest_sha256"]
        each["files"].pop("README.md", None)  # which new manifests do not list
    assert values[0] == values[1]


TUNING = """
import sys
from pathlib import Path
from pe_deploy import open_bundle
from pe_deploy.errors import BundleError
from pe_deploy.export import crossover

def measured(*_):
    print("measuring", flush=True)
    return int(sys.stdin.readline())

crossover.measured_crossover = measured
try:
    crossover.tune(open_bundle(sys.argv[1]))
except BundleError as error:
    print(error)
"""


class Tuning:
    """A process that has read a bundle, and waits with the number that it is told to find."""

    def __init__(self, bundle: Path) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", TUNING, str(bundle)], **pipes)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "measuring\n"

    def finds(self, rows: int) -> str:
        """What it says, once it has published or given up."""
        said, _ = self.process.communicate(f"{rows}\n")
        return str(said)


def test_of_two_that_tune_at_once_the_second_says_so(own_bundle: Path) -> None:
    first, second = Tuning(own_bundle), Tuning(own_bundle)
    assert second.finds(40) == ""
    said = f"{own_bundle} was changed while it was measured; tune it again\n"
    assert first.finds(50) == said
    assert open_bundle(own_bundle).manifest.dispatch.crossover == 40


@pytest.mark.parametrize("meanwhile", ["exported", "signed", "removed"])
def test_what_became_of_a_bundle_while_it_was_measured_stays(
    own_bundle: Path, root: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    bundle, other = open_bundle(own_bundle), open_bundle(root / "tests/bundles/shortest")

    def measured(*_: object) -> int:
        if meanwhile == "exported":
            with publishing(own_bundle) as staging:
                write_bundle(staging, other.manifest, other.files)
        elif meanwhile == "signed":
            (own_bundle / "model.sig").write_bytes(b"{}")
        else:
            shutil.rmtree(own_bundle)
        before.update({path.name: path.read_bytes() for path in own_bundle.glob("*")})
        return 40

    before: dict[str, bytes] = {}
    monkeypatch.setattr(crossover, "measured_crossover", measured)
    with pytest.raises(BundleError, match=r"tune it again|is not a folder"):
        tune(bundle)
    assert {path.name: path.read_bytes() for path in own_bundle.glob("*")} == before
    assert own_bundle.exists() == (meanwhile != "removed")
    assert [path for path in own_bundle.parent.iterdir() if path != own_bundle] == []


def test_what_cannot_be_tuned_says_so(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "model.sig").write_bytes(b"{}")
    with pytest.raises(InvalidInputError, match="is signed; export it here to have it tuned"):
        tune(open_bundle(own_bundle))
    shutil.rmtree(own_bundle)
    export_module(source(), own_bundle, ExportOptions(formats=["torchscript"]))
    bundle = open_bundle(own_bundle)
    assert TORCHSCRIPT in bundle.files
    with pytest.raises(BundleError, match=r"holds no model\.onnx"):
        tune(bundle)
