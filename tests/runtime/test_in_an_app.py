"""Threads, copies, closing, memory: what an app does with a classifier."""

from __future__ import annotations

import copy
import importlib
import pickle
import platform
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import (
    BundleError,
    InvalidInputError,
    OnnxClassifier,
    PredictionError,
    Signature,
    open_bundle,
)
from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT
from pe_deploy.config import Decision
from pe_deploy.runtime import to_input_ids
from pe_deploy.runtime.classifier import Classifier, Run, in_chunks
from pe_deploy.runtime.plan import CHUNK_IDS, CHUNK_ROWS
from tests.runtime.processes import run_python

CLOSED = "this classifier was closed; open the bundle again"


def ids_of(path: Path) -> list[NDArray[np.int64]]:
    return [case.input_ids for case in open_bundle(path).golden()]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_many_threads_get_the_same_bits(any_bundle: Path, num_threads: int) -> None:
    classifier = OnnxClassifier(any_bundle, num_threads=num_threads)
    inputs = ids_of(any_bundle)
    expected = [classifier.predict_logits(ids).tobytes() for ids in inputs]

    def ask(number: int) -> bool:
        which = number % len(inputs)
        return classifier.predict_logits(inputs[which]).tobytes() == expected[which]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(800)))


def copies(classifier: OnnxClassifier) -> dict[str, OnnxClassifier]:
    return {
        "pickle": pickle.loads(pickle.dumps(classifier)),
        "copy": copy.copy(classifier),
        "deepcopy": copy.deepcopy(classifier),
    }


def test_copies_answer_alike_and_live_on_their_own(any_bundle: Path) -> None:
    classifier = OnnxClassifier(any_bundle, num_threads=2)
    ids = ids_of(any_bundle)[0]
    logits, labels = classifier.predict_logits(ids), classifier.predict(ids)
    made = copies(classifier)
    classifier.close()
    for name, other in made.items():
        np.testing.assert_array_equal(other.predict_logits(ids), logits, err_msg=name)
        np.testing.assert_array_equal(other.predict(ids), labels, err_msg=name)
        assert other.providers == classifier.providers
        assert other.manifest == classifier.manifest


def test_a_threshold_given_at_opening_decides(notebook_bundle: Path, padded_bundle: Path) -> None:
    ids = np.concatenate([each[:, :1] for each in ids_of(notebook_bundle)])
    by_default = OnnxClassifier(notebook_bundle)
    probabilities = by_default.predict_proba(ids)[:, 1]
    threshold = float(np.median(probabilities))
    classifier = OnnxClassifier(notebook_bundle, threshold=threshold, self_test=True)
    assert by_default.threshold != classifier.threshold == threshold
    for other in (classifier, *copies(classifier).values()):
        expected = (probabilities > threshold).astype(int).tolist()
        assert other.predict(ids).tolist() == expected
        assert other.predict_with_probability(ids)[0].tolist() == expected
    assert by_default.predict(ids).tolist() != expected
    with pytest.raises(InvalidInputError, match=r"threshold is 1.1; allowed: 0.0 to 1.0"):
        OnnxClassifier(notebook_bundle, threshold=1.1)
    with pytest.raises(InvalidInputError, match=r"threshold is 0.5; allowed: none with classes"):
        OnnxClassifier(padded_bundle, threshold=0.5)


def test_a_pickle_carries_its_graphs_and_needs_no_disk(own_bundle: Path) -> None:
    classifier = OnnxClassifier(own_bundle)
    ids = ids_of(own_bundle)[0]
    expected = classifier.predict_logits(ids)
    data = pickle.dumps(classifier)
    bundle = open_bundle(own_bundle)
    for name in bundle.files:
        assert (bundle.read(name) in data) == name.endswith(".onnx")
        (own_bundle / name).unlink()
    np.testing.assert_array_equal(pickle.loads(data).predict_logits(ids), expected)


def test_damage_in_a_pickle_is_refused(notebook_bundle: Path) -> None:
    data = bytearray(pickle.dumps(OnnxClassifier(notebook_bundle)))
    for name in (ONNX, THROUGHPUT):
        model = open_bundle(notebook_bundle).read(name)
        place = data.index(model)
        for offset in (0, len(model) // 2, len(model) - 1):
            damaged = bytearray(data)
            damaged[place + offset] ^= 1
            with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
                pickle.loads(bytes(damaged))


@pytest.mark.parametrize("module", ["cloudpickle", "joblib"])
def test_what_ray_spark_and_joblib_use(notebook_bundle: Path, module: str) -> None:
    if module == "joblib":
        joblib = pytest.importorskip("joblib", reason="joblib is not installed")
        ids = ids_of(notebook_bundle)
        classifier = OnnxClassifier(notebook_bundle, num_threads=1)
        tasks = (joblib.delayed(classifier.predict_logits)(each) for each in ids)
        with joblib.parallel_config("loky", n_jobs=2):
            answers = joblib.Parallel()(tasks)
        importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown()
        for each, answer in zip(ids, answers, strict=True):
            np.testing.assert_array_equal(answer, classifier.predict_logits(each))
        return
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    classifier = OnnxClassifier(notebook_bundle)
    one = ids_of(notebook_bundle)[0]
    task = cloudpickle.loads(cloudpickle.dumps(lambda: classifier.predict_logits(one)))
    np.testing.assert_array_equal(task(), classifier.predict_logits(one))


def test_a_closed_classifier_says_so(any_bundle: Path) -> None:
    with OnnxClassifier(any_bundle) as classifier:
        classifier.predict([[1, 2]])
    for method in ("predict", "predict_logits", "predict_proba", "predict_with_probability"):
        with pytest.raises(PredictionError) as caught:
            getattr(classifier, method)([[1, 2]])
        assert str(caught.value) == CLOSED
    classifier.close()
    for other in copies(classifier).values():
        with pytest.raises(PredictionError, match="was closed"):
            other.predict([[1, 2]])


def test_a_block_that_fails_closes_too(notebook_bundle: Path) -> None:
    with pytest.raises(KeyError), OnnxClassifier(notebook_bundle) as classifier:
        raise KeyError
    with pytest.raises(PredictionError, match="was closed"):
        classifier.predict([[1, 2]])


def test_closing_lets_others_finish(notebook_bundle: Path) -> None:
    for _ in range(5):
        classifier = OnnxClassifier(notebook_bundle, num_threads=2)
        ids = np.ones((200, 10), int)
        expected = classifier.predict_logits(ids).tobytes()
        started = threading.Barrier(5)
        outcomes: set[Any] = set()

        def ask(
            classifier: OnnxClassifier = classifier,
            ids: NDArray[np.int64] = ids,
            started: threading.Barrier = started,
            outcomes: set[Any] = outcomes,
        ) -> None:
            started.wait()
            for _ in range(10_000):
                try:
                    outcomes.add(classifier.predict_logits(ids).tobytes())
                except PredictionError as error:
                    outcomes.add(str(error))
                    return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        while not outcomes:
            pass
        classifier.close()
        for thread in threads:
            thread.join()
        assert outcomes == {expected, CLOSED}


def test_an_engine_sees_bounded_chunks() -> None:
    """Rows and ids are bounded, and the answer is that of the rows one by one."""
    seen: list[tuple[int, ...]] = []

    class Sums(Classifier):
        def _open(self) -> Run:
            def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
                seen.append(ids.shape)
                sums = ids.sum(axis=1).astype(np.float32)
                return sums if self.signature.num_classes == 1 else np.stack([sums, -sums], 1)

            return in_chunks(run)

    for classes in (1, 2):
        classifier = Sums(
            Signature(9, 100_000, classes), Decision((0, 1), 0.5 if classes == 1 else None)
        )
        for rows, length in [(1, 100_000), (5, 40_000), (1300, 64), (513, 1), (64, 1024), (0, 3)]:
            seen.clear()
            ids = np.random.default_rng(rows).integers(0, 9, (rows, length))
            logits = classifier.predict_logits(ids)
            sums = ids.sum(axis=1)
            expected = sums if classes == 1 else np.stack([sums, -sums], 1)
            np.testing.assert_array_equal(logits, expected)
            for part_rows, part_length in seen:
                assert part_rows <= CHUNK_ROWS
                assert part_rows == 1 or part_rows * part_length <= CHUNK_IDS
            assert sum(part for part, _ in seen) == rows


MEMORY = """
import sys
import numpy as np
from pe_deploy import OnnxClassifier

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

classifier = OnnxClassifier(sys.argv[1], num_threads=1)
rng = np.random.default_rng(0)
vocab_size = classifier.signature.vocab_size
classifier.predict_logits(rng.integers(0, vocab_size, (512, 64)))
before = resident()
for _ in range(300):
    shape = int(2 ** rng.uniform(0, 8)), int(rng.integers(1, 65))
    classifier.predict_logits(rng.integers(0, vocab_size, shape))
mixed = resident()
classifier.predict_logits(np.broadcast_to(rng.integers(0, vocab_size, 64), (20_000, 64)))
print(mixed - before, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells a process's memory")
def test_memory_does_not_grow_with_the_largest_request(demo_bundle: Path) -> None:
    """A session with its default options keeps hundreds of megabytes of the large one."""
    mixed, large = map(float, run_python(MEMORY, demo_bundle).split())
    assert mixed < 40, "megabytes more after 300 requests of mixed shapes"
    assert large < 60, "megabytes more after a request of 20000 × 64"


PAGES = """
import resource, sys
import numpy as np
from pe_deploy import OnnxClassifier

def taken():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

classifier = OnnxClassifier(sys.argv[1], num_threads=1)
ids = np.random.default_rng(0).integers(0, 12, (1024, 10))
for _ in range(5):
    classifier.predict_logits(ids)
before = taken()
for _ in range(20):
    classifier.predict_logits(ids)
print(taken() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library keeps other memory")
def test_a_run_does_not_give_back_what_the_next_one_takes(notebook_bundle: Path) -> None:
    assert int(run_python(PAGES, notebook_bundle)) < 1000, "pages; each run works on some 200"


def test_validation_takes_ids_of_every_layout(notebook_bundle: Path) -> None:
    classifier = OnnxClassifier(notebook_bundle)
    ids = np.random.default_rng(0).integers(0, 12, (3, 5))
    expected = classifier.predict_logits(ids)
    unaligned = np.frombuffer(b"x" + ids.tobytes(), np.int64, offset=1).reshape(3, 5)
    assert not unaligned.flags.aligned
    forms: list[Any] = [
        unaligned,
        ids.astype("q"),
        ids.view(np.matrix),
        ids.astype(np.dtype("i8", metadata={"unit": "id"})),
    ]
    for form in forms:
        np.testing.assert_array_equal(classifier.predict_logits(form), expected)
    assert to_input_ids(ids, classifier.signature) is ids, "what fits already is not copied"
