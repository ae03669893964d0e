"""Forked, forkserver and spawned processes: each answers, and each ends.

Every case runs in a process of its own, which is given a minute: what goes wrong here hangs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.runtime.processes import run_python

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# From 3.12 on, Python warns of every fork beside threads.
WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")

COMMON = """
import multiprocessing, os, pickle, sys, threading
import numpy as np
from pe_deploy import BundleError, OnnxClassifier, open_bundle
from pe_deploy.runtime import Classifier

path, threads = sys.argv[1], int(sys.argv[2])
inputs = [case.input_ids for case in open_bundle(path).golden()]

def answers(classifier):
    return [classifier.predict_logits(ids).tobytes() for ids in inputs]

def in_child(work):
    '''Run work in a forked child that ends as a server's worker does: by sys.exit.'''
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, code
"""


def run(tmp_path: Path, bundle: Path, code: str, threads: int = 2) -> None:
    script = tmp_path / "app.py"
    script.write_text(textwrap.dedent(COMMON) + textwrap.dedent(code))
    # Without the variable, as in an app that knows nothing of it.
    clean = {"ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"}
    env = {name: value for name, value in os.environ.items() if name not in clean}
    process = subprocess.Popen(
        [sys.executable, *WARNINGS, str(script), str(bundle), str(threads)],
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        _end_group(process)
    assert (process.returncode, errors) == (0, "")


def _end_group(process: subprocess.Popen[str]) -> None:
    """What hangs may be a child of the process."""
    if process.returncode != 0 and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_and_its_forks_answer_and_end(
    tmp_path: Path, any_bundle: Path, threads: int
) -> None:
    code = """
    classifier = OnnxClassifier(path, num_threads=threads)
    expected = answers(classifier)

    def grandchild():
        assert answers(classifier) == expected

    def child():
        assert answers(classifier) == expected
        in_child(grandchild)
        assert answers(classifier) == expected

    for _ in range(3):
        in_child(child)
    in_child(lambda: None)
    in_child(classifier.close)
    assert answers(classifier) == expected
    """
    run(tmp_path, any_bundle, code, threads)


@needs_fork
def test_a_child_may_delete_what_it_inherited(tmp_path: Path, notebook_bundle: Path) -> None:
    code = """
    import gc
    made = {"it": OnnxClassifier(path, num_threads=2)}
    expected = answers(made["it"])

    def drop():
        made.clear()
        gc.collect()

    def use_and_drop():
        assert answers(made["it"]) == expected
        drop()

    in_child(drop)
    in_child(use_and_drop)
    assert answers(made["it"]) == expected
    """
    run(tmp_path, notebook_bundle, code)


@needs_fork
def test_a_fork_while_others_predict_and_open(tmp_path: Path, notebook_bundle: Path) -> None:
    code = """
    classifier = OnnxClassifier(path, num_threads=2)
    expected = answers(classifier)
    done = threading.Event()

    def predict():
        while not done.is_set():
            assert answers(classifier) == expected

    def open_and_close():
        while not done.is_set():
            with OnnxClassifier(path, num_threads=2) as other:
                other.predict(inputs[0])

    others = [threading.Thread(target=work) for work in (predict, predict, open_and_close)]
    for other in others:
        other.start()

    def child():
        # Many threads ask at once for the engine that the child does not have yet.
        seen = []
        askers = [
            threading.Thread(target=lambda: seen.append(answers(classifier))) for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert seen == [expected] * 4

    try:
        for _ in range(8):
            in_child(child)
    finally:
        done.set()
        for other in others:
            other.join()
    """
    run(tmp_path, notebook_bundle, code)


@needs_fork
def test_a_child_checks_the_bytes_again_and_reads_no_disk(tmp_path: Path, own_bundle: Path) -> None:
    code = """
    classifier = OnnxClassifier(path, num_threads=2)
    expected = answers(classifier)
    for file in os.listdir(path):
        os.unlink(os.path.join(path, file))

    def child():
        assert answers(classifier) == expected

    def damaged():
        classifier._models["model.onnx"] = classifier._models["model.onnx"][:-1] + b"?"
        try:
            classifier.predict(inputs[0])
        except BundleError as error:
            assert "model.onnx was changed after it was published" in str(error)
        else:
            sys.exit("damaged bytes were loaded")

    in_child(child)
    in_child(damaged)
    """
    run(tmp_path, own_bundle, code)


@needs_fork
def test_onnxruntime_reports_to_nobody(tmp_path: Path, notebook_bundle: Path) -> None:
    """Its reporting thread is what a forked process waits for when it ends."""
    code = """
    import onnxruntime
    OnnxClassifier(path, num_threads=1).predict(inputs[0])
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    if os.path.isdir("/proc/self/task"):
        assert len(os.listdir("/proc/self/task")) == 1
    """
    run(tmp_path, notebook_bundle, code)


@needs_fork
def test_where_telemetry_runs_the_first_fork_warns_in_one_line(tmp_path: Path) -> None:
    code = """
import os, warnings
import onnxruntime
import pe_deploy.runtime.onnx
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    for _ in range(3):
        if os.fork() == 0:
            os._exit(0)
        os.wait()
for each in seen:
    if each.category is RuntimeWarning:
        print(each.message)
"""
    env = {name: os.environ[name] for name in os.environ.keys() - {"ORT_DISABLE_TELEMETRY"}}
    for off, said in [({}, 1), ({"ORT_DISABLE_TELEMETRY": "1"}, 0)]:
        lines = run_python(code, env={**env, "HOME": str(tmp_path), **off}).splitlines()
        assert len(lines) == said
        assert all("set ORT_DISABLE_TELEMETRY=1 in the environment" in line for line in lines)


@needs_fork
def test_a_fork_while_the_first_large_batches_run(tmp_path: Path, notebook_bundle: Path) -> None:
    """What they need is imported then, which a fork may fall into."""
    code = """
    classifier = OnnxClassifier(path, num_threads=3)
    ids = np.ones((3000, 10), np.int64)
    others = [threading.Thread(target=classifier.predict, args=(ids,)) for _ in range(6)]
    for other in others:
        other.start()
    for _ in range(4):
        in_child(lambda: classifier.predict(ids))
    for other in others:
        other.join()
    """
    run(tmp_path, notebook_bundle, code)


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn", "forkserver"])
def test_pools_of_processes(tmp_path: Path, notebook_bundle: Path, method: str) -> None:
    code = f"""
    classifier = None

    def adopt(given):
        global classifier
        classifier = given

    def ask(which):
        return classifier.predict_logits(inputs[which]).tobytes()

    def ask_it(given, which):
        return given.predict_logits(inputs[which]).tobytes()

    if __name__ == "__main__":
        mine = OnnxClassifier(path, num_threads=threads)
        expected = answers(mine)
        context = multiprocessing.get_context({method!r})
        with context.Pool(2, adopt, (mine,)) as pool:
            for _ in range(10):
                assert pool.map(ask, range(len(inputs))) == expected
            pairs = [(mine, which) for which in range(len(inputs))]
            assert pool.starmap(ask_it, pairs) == expected
            pool.close()
            pool.join()
    """
    run(tmp_path, notebook_bundle, code)
