"""What an app's signal handlers raise passes through, and no way to end a process aborts it.

One process a test: it imports and opens once, and forks a child for each moment of interruption.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.processes import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

COMMON = """
import atexit, os, signal, sys, threading, time
import numpy as np
from pe_deploy import OnnxClassifier, open_bundle

path, threads = sys.argv[1], int(sys.argv[2])
classifier = OnnxClassifier(path, num_threads=threads)
ids = np.random.default_rng(0).integers(0, 12, (3000, 10))
"""


CHILDREN = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a shell's background job

def predict_for_ever(begun=lambda: None):
    classifier.predict(ids)
    begun()
    while True:
        classifier.predict(ids)

def tell():
    os.write(writing, b"!")

outcomes = []
for moment in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        {child}
    os.read(reading, 1)
    time.sleep(moment * 0.0007)
    {parent}
    outcomes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(outcomes)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("child", "parent", "code"),
    [
        pytest.param(
            """
        try:
            predict_for_ever(tell)
        except KeyboardInterrupt:
            sys.exit(3)""",
            "os.kill(child, signal.SIGINT)",
            3,
            id="Ctrl-C",
        ),
        pytest.param(
            """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        predict_for_ever(tell)""",
            "os.kill(child, signal.SIGTERM)",
            0,
            id="SIGTERM",
        ),
        pytest.param(
            """
        reading_own, writing_own = os.pipe()
        signal.signal(signal.SIGUSR1, lambda *_: os.write(writing_own, b"!"))
        threading.Thread(target=predict_for_ever, args=(tell,), daemon=True).start()
        os.read(reading_own, 1)
        sys.exit(5)""",
            "os.kill(child, signal.SIGUSR1)",
            5,
            id="a daemon predicts",
        ),
        pytest.param(
            """
        threading.Thread(target=lambda: [classifier.predict(ids) for _ in range(2)]).start()
        tell()
        time.sleep(moment * 0.0007)
        sys.exit(7)""",
            "",
            7,
            id="a thread predicts",
        ),
    ],
)
def test_a_process_ends_as_its_app_meant(
    notebook_bundle: Path, threads: int, child: str, parent: str, code: int
) -> None:
    moments = CHILDREN.format(child=child, parent=parent)
    assert run_python(COMMON + moments, notebook_bundle, threads) == f"{[code] * 20}\n"


ALARMS = """
class SoftTimeLimit(Exception):
    pass

class Limit(RuntimeError):
    pass

class Interrupted(ValueError):
    pass

inputs = {
    "one row": ids[:1],
    "int32": ids[:8].astype(np.int32),
    "lists": ids[:8].tolist(),
    "400 rows": ids[:400],
    "all rows": ids,
}
lost = []
for name, given in inputs.items():
    for error in (SoftTimeLimit, TimeoutError, Limit, Interrupted):
        for moment in range(20):
            due = False

            def stop(*_):
                global due
                due = True
                raise error

            signal.signal(signal.SIGALRM, stop)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + moment * 0.0001)
                while not due:
                    classifier.predict(given)
                lost.append((name, error.__name__))
            except BaseException as caught:
                if type(caught) is not error:
                    lost.append((name, error.__name__, repr(caught)))
        classifier.predict(given)
print(lost)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_signal_handler_raises_is_seen_as_itself(
    notebook_bundle: Path, threads: int
) -> None:
    assert run_python(COMMON + ALARMS, notebook_bundle, threads) == "[]\n"


@pytest.mark.parametrize("before", [False, True])
def test_large_batches_while_the_interpreter_ends(notebook_bundle: Path, before: bool) -> None:
    """In a thread that outlives the main one, and in functions that run at its exit."""
    code = f"""
if {before}:
    classifier.predict(ids)
def late():
    threading.main_thread().join()
    print(len(classifier.predict(ids)))
atexit.register(lambda: print(len(classifier.predict(ids))))
threading.Thread(target=late).start()
"""
    assert run_python(COMMON + code, notebook_bundle, 2).split() == ["3000", "3000"]


def test_an_exit_function_may_wait_for_a_daemon_that_predicts(notebook_bundle: Path) -> None:
    """Registered before pe_deploy was imported, it runs after everything of ours."""
    code = f"""
import atexit, queue, sys, threading
asked, answered = queue.Queue(), queue.Queue()
atexit.register(lambda: (asked.put(None), print(len(answered.get()))))
from pe_deploy import OnnxClassifier
classifier = OnnxClassifier({str(notebook_bundle)!r}, num_threads=2)
def work():
    asked.get()
    answered.put(classifier.predict([[1, 2]] * 4000))
threading.Thread(target=work, daemon=True).start()
"""
    assert run_python(code) == "4000\n"
