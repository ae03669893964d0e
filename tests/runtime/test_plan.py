from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import BundleError, InvalidInputError, OnnxClassifier, PredictionError, open_bundle
from pe_deploy.bundle import ONNX, THROUGHPUT, Bundle, Dispatch
from pe_deploy.runtime import onnx_predictors
from pe_deploy.runtime.plan import CHUNK_IDS, Engine, Lazy, Run, chunks, largest_chunk

CROSSOVER = 24  # of the bundles here


def rows_of(bundle: Path, count: int, length: int, seed: int = 0) -> NDArray[np.int64]:
    signature = open_bundle(bundle).manifest.signature
    ids = np.random.default_rng(seed).integers(1, signature.vocab_size, (count, length))
    if signature.pad_id is not None:
        ids[1::2, length // 2 + 1 :] = signature.pad_id
    return ids


@pytest.mark.parametrize("rows", [1, 2, 3, 24, 63, 64, 65, 511, 512, 513, 1000, 4096])
@pytest.mark.parametrize("shares", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [1, 64, 4096, 10 * CHUNK_IDS])
def test_chunks_are_all_the_rows_in_even_parts(rows: int, shares: int, length: int) -> None:
    cut = chunks(rows, largest_chunk(length, 512), shares)
    assert [row for part in cut for row in range(part.start, part.stop)] == list(range(rows))
    sizes = [part.stop - part.start for part in cut]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 512
    assert max(sizes) == 1 or max(sizes) * length <= CHUNK_IDS
    assert len(cut) % shares == 0 or rows < len(cut) + shares


@pytest.mark.parametrize("rows", [1, 23, 24, 25, 47, 48, 49, 600, 1500])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_both_forms_give_the_same_answers(any_bundle: Path, rows: int, threads: int) -> None:
    ids = rows_of(any_bundle, rows, 7)
    by_form = {
        form: OnnxClassifier(any_bundle, num_threads=threads, form=form)
        for form in (None, "latency", "throughput")
    }
    logits = {form: classifier.predict_logits(ids) for form, classifier in by_form.items()}
    np.testing.assert_allclose(logits["throughput"], logits["latency"], rtol=0, atol=2e-5)
    labels = {form: classifier.predict(ids).tolist() for form, classifier in by_form.items()}
    assert labels["latency"] == labels["throughput"] == labels[None]
    if threads == 1:
        chosen = "latency" if rows < CROSSOVER else "throughput"
        np.testing.assert_array_equal(logits[None], logits[chosen])


def test_the_crossover_of_the_manifest_is_where_the_form_changes(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    ids = rows_of(notebook_bundle, 60, 10)
    forms = onnx_predictors(bundle)
    assert (forms["onnx"](ids) != forms["throughput"](ids)).any()  # or nothing would show here
    for crossover in (1, 60, 61, 10_000):
        dispatch = dataclasses.replace(bundle.manifest.dispatch, crossover=crossover)
        manifest = dataclasses.replace(bundle.manifest, dispatch=dispatch)
        classifier = OnnxClassifier(dataclasses.replace(bundle, manifest=manifest), num_threads=1)
        expected = forms["throughput" if crossover <= 60 else "onnx"](ids)
        np.testing.assert_array_equal(classifier.predict_logits(ids), expected)
        np.testing.assert_array_equal(classifier.predict_logits(ids.tolist()), expected)


def engine(run: Run, threads: int, chunk_rows: int, share_rows: int, longest: int = 10) -> Engine:
    """One that runs everything by `run`."""
    dispatch = Dispatch(chunk_rows=chunk_rows, share_rows=share_rows)
    return Engine(run, longest, dispatch, threads, Lazy(lambda: run), None)


def test_no_share_is_smaller_than_it_has_to_be() -> None:
    def cut(rows: int, length: int = 10) -> list[int]:
        parts = engine(answer, 2, chunk_rows=512, share_rows=100).chunks(rows, length)
        return [part.stop - part.start for part in parts]

    assert cut(1) == [1]
    assert cut(199) == [199]
    assert cut(200) == [100, 100]
    assert cut(1024) == [512, 512]
    assert cut(1025) == [256, 256, 256, 257]


def test_a_share_is_so_many_ids_however_long_rows_are() -> None:
    parts = engine(answer, 2, chunk_rows=512, share_rows=100, longest=10)
    for length in range(1, 11):
        fewest = next(rows for rows in range(1, 5000) if len(parts.chunks(rows, length)) > 1)
        assert fewest == min(-(-2000 // length), 513)
    assert len(engine(answer, 8, 512, share_rows=1, longest=4096).chunks(3, 4096)) == 3


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
@pytest.mark.parametrize("own_threads", [False, True])
@pytest.mark.parametrize("longest", [1, 10, 1000, 10 * CHUNK_IDS])
@pytest.mark.parametrize("share_rows", [1, 3, 100, 10**12])
def test_what_is_run_at_once_is_one_chunk(
    threads: int, own_threads: bool, longest: int, share_rows: int
) -> None:
    dispatch = Dispatch(chunk_rows=64, share_rows=share_rows, own_threads=own_threads)
    parts = Engine(answer, longest, dispatch, threads, Lazy(lambda: answer), None)
    for length in {1, (longest + 1) // 2, longest}:
        for rows in (1, 2, 3, 5, 6, 7, 63, 64, 65, 191, 192, 193, 500):
            cut = parts.chunks(rows, length)
            assert sum(part.stop - part.start for part in cut) == rows
            assert (parts.at_once(rows, length) is None) == (len(cut) > 1)


def test_no_thread_idles_where_chunks_have_to_be_cut_anyway() -> None:
    """A wide model on many processors: 64 rows are one piece for onnxruntime's own threads."""
    dispatch = Dispatch(crossover=24, chunk_rows=64, share_rows=3, own_threads=True)
    parts = Engine(answer, 10, dispatch, 64, Lazy(lambda: answer), Lazy(lambda: answer))
    assert [len(parts.chunks(rows, 10)) for rows in (64, 65, 191, 192)] == [1, 21, 63, 64]


def named_engine(threads: int, own_threads: bool) -> tuple[Engine, set[str]]:
    """One whose three sessions tell when they are run, with a crossover at 12 rows."""
    called: set[str] = set()

    def session(name: str) -> Run:
        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            called.add(name)
            return answer(ids)

        return run

    dispatch = Dispatch(crossover=12, chunk_rows=64, share_rows=3, own_threads=own_threads)
    few = Lazy(lambda: session("few"))
    many = Lazy(lambda: session("many"))
    return Engine(session("whole"), 2, dispatch, threads, few, many), called


@pytest.mark.parametrize(
    ("threads", "own_threads", "by"),
    [
        (1, False, {1: "whole", 11: "whole", 12: "many", 300: "many"}),
        (1, True, {1: "whole", 11: "whole", 12: "many", 300: "many"}),
        (2, False, {1: "whole", 5: "whole", 6: "few", 22: "few", 24: "many", 300: "many"}),
        (2, True, {1: "whole", 5: "whole", 6: "few", 22: "few", 24: "many", 300: "many"}),
        (4, False, {5: "whole", 6: "few", 12: "few", 44: "few", 48: "many", 300: "many"}),
        (4, True, {5: "whole", 11: "whole", 12: "few", 44: "few", 48: "many", 300: "many"}),
    ],
)
def test_each_batch_and_each_share_is_run_by_what_is_meant_for_it(
    threads: int, own_threads: bool, by: dict[int, str]
) -> None:
    for rows, name in by.items():
        engine, called = named_engine(threads, own_threads)
        ids = np.arange(2 * rows).reshape(rows, 2)
        logits = np.empty(rows, np.float32)
        for part, numbers in engine.each(ids):
            logits[part] = numbers
        np.testing.assert_array_equal(logits, answer(ids))
        assert called == {name}
        called.clear()
        if run := engine.at_once(rows, 2):
            run(ids)
            assert called == {name}


def without(bundle: Bundle, name: str) -> Bundle:
    files = {key: data for key, data in bundle.files.items() if key != name}
    return dataclasses.replace(bundle, files=files)


def test_a_bundle_without_the_second_form_runs_every_batch(any_bundle: Path) -> None:
    bundle = without(open_bundle(any_bundle), THROUGHPUT)
    ids = rows_of(any_bundle, 1200, 5)
    expected = OnnxClassifier(any_bundle, form="latency").predict_logits(ids)
    np.testing.assert_allclose(OnnxClassifier(bundle).predict_logits(ids), expected, atol=1e-6)
    with pytest.raises(BundleError, match=r"holds no model\.throughput\.onnx"):
        OnnxClassifier(bundle, form="throughput")


def test_a_form_that_is_none_is_named(notebook_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match="form is 'fast'; allowed: latency, throughput"):
        OnnxClassifier(notebook_bundle, form="fast")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [ONNX, THROUGHPUT])
def test_a_graph_that_refuses_nothing_is_not_run(
    notebook_bundle: Path, padded_bundle: Path, name: str
) -> None:
    """That of another model stands for one: its ids and lengths are not those of this one."""
    bundle, other = open_bundle(notebook_bundle), open_bundle(padded_bundle)
    swapped = dataclasses.replace(bundle, files={**bundle.files, name: other.read(name)})
    form = "latency" if name == ONNX else "throughput"
    with pytest.raises(BundleError, match=f"{name} answers batch 1 × length 1 that begins with"):
        OnnxClassifier(swapped, form=form)  # type: ignore[arg-type]


def answer(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    sums: NDArray[np.float32] = ids.sum(axis=1).astype(np.float32)
    return sums


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_chunk_is_run_once_by_no_more_threads_than_stated(threads: int) -> None:
    lock, names, seen = threading.Lock(), set(), []

    def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        with lock:
            names.add(threading.current_thread().name)
            seen.extend(ids[:, 0].tolist())
        return answer(ids)

    many = engine(run, threads, chunk_rows=8, share_rows=3)
    ids = np.arange(200).reshape(100, 2)
    for _ in range(5):
        seen.clear()
        logits = np.zeros(100, np.float32)
        for rows, part in many.each(ids):
            logits[rows] = part
        np.testing.assert_array_equal(logits, answer(ids))
        assert sorted(seen) == ids[:, 0].tolist()
    assert len(names) <= threads


@pytest.mark.parametrize("bad", [0, 50, 99])
def test_an_error_in_any_chunk_is_the_answers(notebook_bundle: Path, bad: int) -> None:
    def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if bad in ids[:, 0]:
            raise RuntimeError("out of\nmemory")
        return answer(ids)

    many = engine(run, 3, chunk_rows=4, share_rows=1)
    ids = np.arange(100).reshape(100, 1)
    with pytest.raises(RuntimeError, match="out of"):
        list(many.each(ids))
    ids[bad] = -1  # and the next request is served
    assert sum(len(part) for _, part in many.each(ids)) == 100

    classifier = OnnxClassifier(notebook_bundle, num_threads=2)
    classifier._parts = lambda run, ids: many.each(  # type: ignore[method-assign]
        np.full((len(ids), 1), bad)
    )
    with pytest.raises(PredictionError, match=r"4000 × length 2: RuntimeError: out of memory$"):
        classifier.predict(np.ones((4000, 2), np.int64))


@pytest.mark.parametrize("rows", [CROSSOVER, 2000])
def test_a_second_form_that_does_not_load_is_an_error_of_predicting(
    notebook_bundle: Path, rows: int
) -> None:
    """It is loaded when it is first needed: for one chunk, which takes the short way, or more."""
    bundle = open_bundle(notebook_bundle)
    broken = dataclasses.replace(bundle, files={**bundle.files, THROUGHPUT: b"none"})
    with (
        OnnxClassifier(broken, num_threads=1) as classifier,
        pytest.raises(PredictionError, match=r"model\.throughput\.onnx: .* does not load it"),
    ):
        classifier.predict(rows_of(notebook_bundle, rows, 5))


def test_a_provider_with_options_runs_both_forms(notebook_bundle: Path) -> None:
    ids = rows_of(notebook_bundle, 60, 10)
    classifier = OnnxClassifier(
        notebook_bundle, num_threads=1, providers=[("CPUExecutionProvider", {})]
    )
    expected = OnnxClassifier(notebook_bundle, num_threads=1).predict_logits(ids)
    np.testing.assert_array_equal(classifier.predict_logits(ids), expected)


def test_who_predicts_while_another_closes_may_still_open_the_second_form(
    notebook_bundle: Path,
) -> None:
    ids = rows_of(notebook_bundle, 600, 10)
    classifier = OnnxClassifier(notebook_bundle)
    engine = classifier._run
    assert engine is not None
    classifier.close()
    parts = [part for _, part in classifier._parts(engine, ids)]
    assert sum(map(len, parts)) == len(ids)


def test_a_classifier_that_nobody_has_is_freed_at_once(notebook_bundle: Path) -> None:
    gc.disable()
    try:
        classifier = OnnxClassifier(notebook_bundle, num_threads=2)
        classifier.predict(rows_of(notebook_bundle, 600, 10))
        freed = weakref.ref(classifier._run), weakref.ref(classifier)
        del classifier
        assert [reference() for reference in freed] == [None, None]
    finally:
        gc.enable()


def test_helpers_end_with_their_classifier(notebook_bundle: Path) -> None:
    before = set(threading.enumerate())
    classifier = OnnxClassifier(notebook_bundle, num_threads=3)
    classifier.predict(rows_of(notebook_bundle, 2000, 10))
    started = set(threading.enumerate()) - before
    assert len(started) == 2
    classifier.close()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def whose_only_helper_is_busy() -> Iterator[Engine]:
    """An engine in which another caller's large batch goes on until the block ends."""
    begun, go_on = threading.Event(), threading.Event()

    def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if ids[0, 0] == 7:
            begun.set()
            assert go_on.wait(30)
        return answer(ids)

    parts = engine(run, 2, chunk_rows=4, share_rows=1)
    large = threading.Thread(target=lambda: list(parts.each(np.full((100, 1), 7))))
    large.start()
    assert begun.wait(30)
    yield parts
    go_on.set()
    large.join(30)
    assert not large.is_alive()


def test_a_small_batch_does_not_wait_for_anothers_large_one() -> None:
    with whose_only_helper_is_busy() as parts:
        answered = sum(len(part) for _, part in parts.each(np.arange(8, 28).reshape(20, 1)))
    assert answered == 20


def test_what_waits_for_a_helper_keeps_no_input() -> None:
    with whose_only_helper_is_busy() as parts:
        ids = np.arange(8, 28).reshape(20, 1).copy()
        kept = weakref.ref(ids)
        list(parts.each(ids))
        del ids
        gc.collect()
        assert kept() is None


def test_where_no_thread_can_be_started_one_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Thread.start
    allowed = 0

    def start(self: threading.Thread) -> None:
        nonlocal allowed
        if allowed < 1:
            raise RuntimeError("can't start new thread")
        allowed -= 1
        started(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    many = engine(answer, 4, chunk_rows=4, share_rows=1)
    ids = np.arange(200).reshape(100, 2)
    for allowed in (0, 1, 2, 3, 0):  # noqa: B007
        logits = np.full(100, np.nan, np.float32)
        for rows, part in many.each(ids):
            logits[rows] = part
        np.testing.assert_array_equal(logits, answer(ids))


@pytest.mark.parametrize("before", [False, True])
def test_large_batches_while_the_interpreter_ends(notebook_bundle: Path, before: bool) -> None:
    """A pool takes no more work by then, in a thread that outlives the main one too."""
    code = f"""
import atexit, threading
import numpy as np
from pe_deploy import OnnxClassifier
classifier = OnnxClassifier({str(notebook_bundle)!r}, num_threads=2)
ids = np.ones((2000, 10), np.int64)
if {before}:
    classifier.predict(ids)
def late():
    threading.main_thread().join()
    print(len(classifier.predict(ids)))
atexit.register(lambda: print(len(classifier.predict(ids))))
threading.Thread(target=late).start()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["2000", "2000"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_while_the_first_large_batches_run_answers_too(
    notebook_bundle: Path,
) -> None:
    """ThreadPool are imported when they are first needed, which a fork may fall into."""
    code = f"""
import faulthandler, os, threading
import numpy as np
from pe_deploy import OnnxClassifier
classifier = OnnxClassifier({str(notebook_bundle)!r}, num_threads=3)
ids = np.random.default_rng(0).integers(0, 12, (3000, 10))
threads = [threading.Thread(target=classifier.predict_logits, args=(ids,)) for _ in range(6)]
for thread in threads:
    thread.start()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        os._exit(0 if len(classifier.predict_logits(ids)) == 3000 else 3)
    children.append(child)
for thread in threads:
    thread.join()
print([os.waitpid(child, 0)[1] for child in children])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert (ended.returncode, ended.stdout) == (0, "[0, 0, 0, 0]\n"), ended.stderr
