from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from pe_deploy import BundleError, CheckpointError, InvalidInputError, ModelConfig, ParityError
from pe_deploy.bench import USUAL_ENGINES, Benchmark, bench, measure
from pe_deploy.bench.builders import BASELINE, OURS, build, check_engines, why_not
from pe_deploy.bench.models import Subject, subject_of
from pe_deploy.bench.worker import Runner, worker
from pe_deploy.bundle.artifacts import ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import open_bundle, write_bundle
from pe_deploy.config import INPUT_IDS
from pe_deploy.errors import PeDeployError
from pe_deploy.export import ExportOptions, Source, export_module
from pe_deploy.export.rebuild import rebuilt
from pe_deploy.model_config import TrainedFrom
from pe_deploy.parity import random_ids
from pe_deploy.training import GRUClassifier


@pytest.fixture(scope="module")
def subject(padded_bundle: Path) -> Subject:
    return subject_of(open_bundle(padded_bundle))


@pytest.fixture(scope="session")
def measured(notebook_bundle: Path) -> Benchmark:
    return bench(notebook_bundle, batches=[3, 1], threads=[1], engines=["torchscript"], seconds=0.1)


@pytest.mark.parametrize("name", USUAL_ENGINES)
def test_every_engine_computes_what_the_bundle_computes(subject: Subject, name: str) -> None:
    if name == "openvino" and find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    if reason := why_not(name, subject):  # as of the bundles that hold no C
        pytest.skip(reason)
    ids = random_ids(subject.signature, 5, 7, np.random.default_rng(1))
    expected = build(OURS, subject, 1)(ids)
    np.testing.assert_allclose(build(name, subject, 1)(ids), expected, atol=1e-6)


def test_the_baseline_is_the_plain_export_without_guards(subject: Subject) -> None:
    session = ort.InferenceSession(subject.plain)
    (given,) = session.get_inputs()
    assert (given.name, given.shape) == (INPUT_IDS, ["batch", "sequence"])
    assert b"guard_" not in subject.plain
    assert b"guard_" in open_bundle(subject.bundle).read(ONNX)
    assert "torch.onnx.export" in subject.baseline
    # No checks: a negative id is another token, and not an error.
    run = build(BASELINE, subject, 1)
    np.testing.assert_array_equal(run(np.array([[1, -1]])), run(np.array([[1, 19]])))


def test_the_torch_module_is_as_a_notebook_has_it(subject: Subject) -> None:
    module = subject.module()
    assert not module.training
    with pytest.raises(IndexError):  # torch's own error: ours would be an InvalidInputError
        module(torch.tensor([[99]]))


def test_the_module_can_come_from_a_checkpoint(tmp_path: Path, notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    torch.save(rebuilt(bundle).state_dict(), tmp_path / "weights.pt")
    assert (
        subject_of(bundle, TrainedFrom(f"{tmp_path}/weights.pt")).plain == subject_of(bundle).plain
    )
    torch.save(GRUClassifier(ModelConfig(12, 10)).state_dict(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="other weights"):
        subject_of(bundle, TrainedFrom(f"{tmp_path}/other.pt"))


def test_a_bundle_of_another_module_is_measured_against_its_own_graph(tmp_path: Path) -> None:
    model = GRUClassifier(ModelConfig(12, 10, embedding_dim=4, hidden_dim=5)).eval()
    source = Source(model, model.config.signature, (0, 1), 0.5, None)
    opened = export_module(source, tmp_path / "bundle", ExportOptions(crossover=24)).bundle
    found = subject_of(opened)
    assert found.plain == opened.read(ONNX)
    assert "does not state its architecture" in found.baseline
    assert why_not("eager", found) == "the bundle does not give its torch module"
    ids = random_ids(found.signature, 3, 4, np.random.default_rng(1))
    np.testing.assert_allclose(
        build("torchscript", found, 1)(ids), build(OURS, found, 1)(ids), atol=1e-6
    )
    files = {name: data for name, data in opened.files.items() if name != TORCHSCRIPT}
    (tmp_path / "onnx only").mkdir()
    write_bundle(tmp_path / "onnx only", opened.manifest, files)
    assert why_not("torchscript", subject_of(open_bundle(tmp_path / "onnx only")))


def test_a_notebook_shows_it_as_the_command_prints_it(measured: Benchmark) -> None:
    assert len(repr(measured)) < 300
    html = measured._repr_html_()
    assert "1 thread: speed as a multiple of the baseline" in html
    assert len(html) < 10_000


def test_figures_agree_with_each_other(measured: Benchmark) -> None:
    assert measured.engines == (OURS, BASELINE, "torchscript")
    assert measured.threads == (1,)
    assert (measured.length, measured.left_out) == (10, {})
    assert [(t.batch, t.engine) for t in measured.timings] == [
        (batch, engine) for batch in (1, 3) for engine in measured.engines
    ]
    for timing in measured.timings:
        assert 0 < timing.median_us <= timing.p95_us
        assert math.isclose(timing.sequences_per_second, timing.batch / timing.median_us * 1e6)
        assert timing.ratio.lower <= timing.ratio.median <= timing.ratio.upper
        assert timing.calls >= timing.rounds >= 3
        assert timing.worst_difference < 1e-6
        if timing.engine == BASELINE:
            assert timing.ratio.lower == timing.ratio.upper == 1
        if timing.engine == OURS:
            assert timing.worst_difference == 0
    assert {"processor", "processors", "python", "onnxruntime", "torch"} <= measured.about.keys()


class Scripted:
    """A worker whose calls take what the script says."""

    def __init__(self, turns: dict[str, list[list[int]]], logits: dict[str, float]) -> None:
        self.turns, self.logits = turns, logits
        self.log: list[tuple[str, int]] = []
        self.bad = ""

    def call(self, method: str, name: str, *arguments: int) -> Any:
        if name == self.bad:
            raise PeDeployError("RuntimeError: no")
        if method == "warm_up":
            return 1.0, np.full(2, self.logits[name])
        self.log.append((name, *arguments))  # type: ignore[arg-type]
        return self.turns[name].pop(0)


def measured_by(host: Scripted, *names: str, left_out: dict[str, str] | None = None) -> Any:
    workers: Any = dict.fromkeys((OURS, BASELINE, *names), host)
    return measure.measure_batch(workers, 1, 2, 5, 0.0, {} if left_out is None else left_out)[0]


def test_ratios_are_of_the_same_round() -> None:
    # A machine that becomes ten times slower for a round changes both and no ratio.
    turns = {OURS: [[100, 100], [1000, 1000], [100, 300]], BASELINE: [[200], [2000], [300]]}
    host = Scripted(turns, {OURS: 1.0, BASELINE: 1.0 + 1e-6})
    ours, baseline = measured_by(host)
    assert (ours.ratio.lower, ours.ratio.median, ours.ratio.upper) == (1.75, 2.0, 2.0)
    assert (ours.calls, ours.rounds, ours.median_us) == (6, 3, 0.2)
    assert ours.sequences_per_second == 1e7
    assert baseline.ratio.median == 1
    assert math.isclose(baseline.worst_difference, 1e-6, rel_tol=1e-3)
    assert sorted(host.log[:2]) == sorted(host.log[2:4]) == [(BASELINE, 1), (OURS, 1)]


def test_engines_that_disagree_are_not_compared() -> None:
    with pytest.raises(ParityError, match="baseline computes something else"):
        measured_by(Scripted({}, {OURS: 1.0, BASELINE: 1.01}))


def test_an_engine_that_fails_is_left_out_and_ours_is_an_error() -> None:
    host = Scripted({OURS: [[1]] * 3, BASELINE: [[1]] * 3}, {OURS: 1.0, BASELINE: 1.0})
    host.bad = "eager"
    left_out: dict[str, str] = {}
    assert [t.engine for t in measured_by(host, "eager", left_out=left_out)] == [OURS, BASELINE]
    assert left_out == {"eager": "threads 1, batch 2: RuntimeError: no"}
    host.bad = BASELINE
    with pytest.raises(PeDeployError, match="baseline fails: RuntimeError: no"):
        measured_by(host)


def test_with_several_threads_each_engine_has_a_process(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def counted(_: Subject, threads: int) -> Any:
        started.append(threads)
        return ExitStack()

    monkeypatch.setattr(measure, "worker", counted)
    with ExitStack() as stack:
        alone = measure.start_workers(stack, subject, (OURS, BASELINE, "eager"), 1)
        assert (started, len({id(host) for host in alone.values()})) == ([1], 1)
        apart = measure.start_workers(stack, subject, (OURS, BASELINE, "eager"), 2)
        assert (started, len({id(host) for host in apart.values()})) == ([1, 2, 2, 2], 3)


def test_a_turn_times_every_call_and_the_input_is_the_same_everywhere(subject: Subject) -> None:
    runner = Runner(subject, 1)
    seconds, logits = runner.warm_up(BASELINE, 4, 6)
    assert seconds > 0
    assert logits.shape == (4, 3)
    taken = runner.turn(BASELINE, 5)
    assert len(taken) == 5
    assert min(taken) > 0
    np.testing.assert_array_equal(Runner(subject, 1).warm_up(BASELINE, 4, 6)[1], logits)


def test_a_worker_that_fails_or_dies_says_so_and_is_ended(subject: Subject) -> None:
    with worker(subject, 2) as host:
        with pytest.raises(PeDeployError, match="KeyError: 'no such engine'"):
            host.call("warm_up", "no such engine", 2, 3)
        assert host.call("warm_up", OURS, 2, 3)[1].shape == (2, 3)
        assert len(host.call("turn", OURS, 3)) == 3
        (child,) = active_children()
        child.kill()
        with pytest.raises(PeDeployError, match="its process died"):
            host.call("turn", OURS, 3)
    assert active_children() == []


def test_settings_outside_their_range_are_named(notebook_bundle: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"batches": [8, 0]}, "batch is 0; allowed: 1 or more"),
        ({"batches": []}, "batch is empty"),
        ({"threads": [0]}, "threads is 0; allowed: 1 or more"),
        ({"length": 11}, "length is 11; allowed: 1 to 10"),
        ({"length": 0}, "length is 0; allowed: 1 to 10"),
        ({"seconds": 0.0}, "seconds is 0.0; allowed: above 0"),
        ({"seconds": float("nan")}, "seconds is nan; allowed: above 0"),
        ({"engines": ["tvm"]}, "engine is 'tvm'; allowed: pe_deploy, baseline"),
    ]
    for settings, message in wrong:
        with pytest.raises(InvalidInputError, match=message):
            bench(notebook_bundle, **settings)
    with pytest.raises(BundleError):
        bench(tmp_path)


def test_ours_and_the_baseline_always_run_and_come_first() -> None:
    assert check_engines(["eager"]) == (OURS, BASELINE, "eager")
    assert check_engines(["openvino", BASELINE]) == (OURS, BASELINE, "openvino")


def test_without_torch_it_runs_against_the_own_graph(notebook_bundle: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'openvino'): sys.modules[name] = None\n"
        "from pe_deploy.bench.builders import MEASURED, build, why_not\n"
        "from pe_deploy import open_bundle\n"
        "from pe_deploy.bench.models import subject_of\n"
        f"subject = subject_of(open_bundle({str(notebook_bundle)!r}))\n"
        "print(subject.baseline)\n"
        "print([name for name in MEASURED if not why_not(name, subject)])\n"
        "build('baseline', subject, 1)\n"
        "print(why_not('eager', subject))\n"
    )
    # find_spec raises for a module that is None in sys.modules, so hide them from it instead.
    hidden = (
        "import importlib.abc, importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "gone = {'torch', 'onnx', 'onnxscript', 'openvino'}\n"
        "importlib.util.find_spec = lambda name: None if name in gone else real(name)\n"
    )
    lines = subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[0].endswith("no wrapper (torch is not installed)")
    assert lines[1:] == ["['pe_deploy', 'baseline']", "torch is not installed"]


def test_the_command_prints_tables_writes_json_and_draws(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    done = run(
        "bench", notebook_bundle, "--batches", "1,16", "--threads", "1,2", "--seconds", "0.2",
        "--length", "4", "--engines", "pe_deploy", "--json", "all.json", "--plot", "plot.png",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    for text in ("4 ids a row", "Baseline: plain torch.onnx.export", "1 thread:", "2 threads:"):
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    values = json.loads((tmp_path / "all.json").read_text())
    assert [(t["threads"], t["batch"], t["engine"]) for t in values["timings"]] == [
        (threads, batch, engine)
        for threads in (1, 2)
        for batch in (1, 16)
        for engine in (OURS, BASELINE)
    ]
    shown = values["timings"][0]
    assert f"{shown['ratio']['median']:.2f}×" in done.out
    assert f"{shown['median_us']:,.1f}" in done.out
    assert str(values["about"]["onnxruntime"]) in done.out
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batches", "1,x"], "batches is '1,x'; allowed: whole numbers separated by commas"),
        (["--plot", "x.svg"], "plot is x.svg; allowed: a .png file"),
        (["--cold", "--file", "x.csv"], "--cold, --file, --serving measure different things"),
        (["--serving", "--cold"], "--cold, --file, --serving measure different things"),
        (["--cold", "--plot", "x.png"], "--plot draws batch sizes"),
        (["--file", "x.csv", "--threads", "1,2"], "threads is 1,2; allowed with --file: one"),
        (["--file", "x.csv"], "x.csv: No such file"),
        (["--cold", "--seconds", "-1"], "seconds is -1.0; allowed: above 0"),
    ],
)
def test_wrong_options_are_one_line(
    run: Callable[..., Any],
    tmp_path: Path,
    notebook_bundle: Path,
    options: list[str],
    message: str,
) -> None:
    done = run("bench", notebook_bundle, *options)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
