from __future__ import annotations

import dataclasses
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import BundleError, InvalidInputError, OnnxClassifier, PredictionError, open_bundle
from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.manifest import Dispatch
from pe_deploy.runtime.engines import predictors
from pe_deploy.runtime.plan import CHUNK_IDS, Plan, cut, largest_chunk, never_cut, plan

CROSSOVER = 24  # of the bundles here


def rows_of(bundle: Path, count: int, length: int, seed: int = 0) -> NDArray[np.int64]:
    signature = open_bundle(bundle).manifest.signature
    ids = np.random.default_rng(seed).integers(1, signature.vocab_size, (count, length))
    if signature.pad_id is not None:
        ids[1::2, length // 2 + 1 :] = signature.pad_id
    return ids


def sizes(rows: int, chunks: int) -> list[int]:
    return [part.stop - part.start for part in cut(rows, chunks)]


@pytest.mark.parametrize("rows", [1, 2, 3, 24, 63, 64, 65, 511, 512, 513, 1000, 4096])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [1, 64, 4096, 10 * CHUNK_IDS])
def test_chunks_are_all_the_rows_in_even_parts(rows: int, threads: int, length: int) -> None:
    chunks = plan(rows, length, Dispatch(share_rows=1), threads, longest=length).chunks
    parts = cut(rows, chunks)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert max(sizes(rows, chunks)) - min(sizes(rows, chunks)) <= 1
    assert max(sizes(rows, chunks)) <= max(1, min(512, CHUNK_IDS // length))
    assert chunks % threads == 0 or chunks == rows


def test_no_share_is_smaller_than_it_has_to_be() -> None:
    def shares(rows: int) -> list[int]:
        dispatch = Dispatch(chunk_rows=512, share_rows=100)
        return sizes(rows, plan(rows, 10, dispatch, 2, longest=10).chunks)

    assert shares(1) == [1]
    assert shares(199) == [199]
    assert shares(200) == [100, 100]
    assert shares(1024) == [512, 512]
    assert shares(1025) == [256, 256, 256, 257]


def test_a_share_is_so_many_ids_however_long_rows_are() -> None:
    dispatch = Dispatch(chunk_rows=512, share_rows=100)
    for length in range(1, 11):
        fewest = next(r for r in range(1, 5000) if plan(r, length, dispatch, 2, 10).chunks > 1)
        assert fewest == min(-(-2000 // length), 513)
    assert plan(3, 4096, Dispatch(share_rows=1), 8, longest=4096).chunks == 3


def test_no_thread_idles_where_chunks_have_to_be_cut_anyway() -> None:
    """A wide model on many processors: 64 rows are one piece for onnxruntime's own threads."""
    dispatch = Dispatch(crossover=24, chunk_rows=64, share_rows=3, own_threads=True)
    chunks = [plan(rows, 10, dispatch, 64, 10).chunks for rows in (64, 65, 191, 192)]
    assert chunks == [1, 21, 63, 64]


OWN, FEW, MANY = ("latency", True), ("latency", False), ("throughput", False)


@pytest.mark.parametrize(
    ("threads", "own_threads", "by"),
    [
        (1, False, {1: FEW, 11: FEW, 12: MANY, 300: MANY}),
        (1, True, {1: FEW, 11: FEW, 12: MANY, 300: MANY}),
        (2, False, {1: FEW, 5: FEW, 6: FEW, 22: FEW, 24: MANY, 300: MANY}),
        (2, True, {1: OWN, 5: OWN, 6: FEW, 22: FEW, 24: MANY, 300: MANY}),
        (4, False, {5: FEW, 6: FEW, 12: FEW, 44: FEW, 48: MANY, 300: MANY}),
        (4, True, {5: OWN, 11: OWN, 12: FEW, 44: FEW, 48: MANY, 300: MANY}),
    ],
)
def test_each_batch_and_each_share_is_run_by_what_is_meant_for_it(
    threads: int, own_threads: bool, by: dict[int, tuple[str, bool]]
) -> None:
    dispatch = Dispatch(crossover=12, chunk_rows=64, share_rows=3, own_threads=own_threads)
    assert {rows: plan(rows, 2, dispatch, threads, longest=2)[:2] for rows in by} == by


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
@pytest.mark.parametrize("own_threads", [False, True])
@pytest.mark.parametrize("longest", [1, 10, 1000, 10 * CHUNK_IDS])
@pytest.mark.parametrize("share_rows", [1, 3, 100, 10**12])
@pytest.mark.parametrize("crossover", [None, 1, 24])
def test_what_is_never_cut_needs_no_plan(
    threads: int, own_threads: bool, longest: int, share_rows: int, crossover: int | None
) -> None:
    dispatch = Dispatch(crossover, 64, share_rows, own_threads)
    whole = Plan("latency", own_threads and threads > 1, 1)
    for length in {1, (longest + 1) // 2, longest}:
        for rows in {1, 2, 3, 5, 23, 24, 63, 64, never_cut(dispatch, longest) - 1}:
            if 1 <= rows < never_cut(dispatch, longest):
                assert plan(rows, length, dispatch, threads, longest) == whole
    assert never_cut(dispatch, longest) <= largest_chunk(longest) + 1


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


def with_dispatch(bundle: Bundle, **changes: Any) -> Bundle:
    dispatch = bundle.manifest.dispatch._replace(**changes)
    return dataclasses.replace(
        bundle, manifest=dataclasses.replace(bundle.manifest, dispatch=dispatch)
    )


def test_the_crossover_of_the_manifest_is_where_the_form_changes(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    ids = rows_of(notebook_bundle, 60, 10)
    forms = predictors(bundle, ["onnx", "throughput"])
    assert (forms["onnx"](ids) != forms["throughput"](ids)).any()  # or nothing would show here
    for crossover in (1, 60, 61, 10_000):
        classifier = OnnxClassifier(with_dispatch(bundle, crossover=crossover), num_threads=1)
        expected = forms["throughput" if crossover <= 60 else "onnx"](ids)
        np.testing.assert_array_equal(classifier.predict_logits(ids), expected)
        np.testing.assert_array_equal(classifier.predict_logits(ids.tolist()), expected)


@pytest.mark.parametrize("own_threads", [False, True])
def test_shares_and_chunks_are_put_together_in_order(
    notebook_bundle: Path, own_threads: bool
) -> None:
    changes = {"chunk_rows": 8, "share_rows": 3, "own_threads": own_threads}
    bundle = with_dispatch(open_bundle(notebook_bundle), **changes)
    ids = rows_of(notebook_bundle, 100, 10)
    alone = OnnxClassifier(notebook_bundle, form="latency", num_threads=1)
    expected = np.concatenate([alone.predict_logits(row[None]) for row in ids])
    for threads in (1, 2, 5):
        classifier = OnnxClassifier(bundle, num_threads=threads)
        for rows in (1, 5, 6, 7, 8, 9, 99, 100):
            np.testing.assert_allclose(
                classifier.predict_logits(ids[:rows]), expected[:rows], rtol=0, atol=2e-6
            )


def test_an_id_that_a_chunk_refuses_is_named_by_its_row(notebook_bundle: Path) -> None:
    ids = rows_of(notebook_bundle, 3000, 10)
    with OnnxClassifier(notebook_bundle, num_threads=2) as classifier:
        for row in (0, 1700, 2999):
            bad = ids.copy()
            bad[row, 3] = 12
            with pytest.raises(InvalidInputError, match=f"row {row}: column 3 has id 12; allowed"):
                classifier.predict(bad)
        assert len(classifier.predict(ids)) == 3000  # and the next request is served


def without(bundle: Bundle, name: str) -> Bundle:
    files = {key: data for key, data in bundle.files.items() if key != name}
    return dataclasses.replace(bundle, files=files, manifest_json=b"")


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


@pytest.mark.parametrize("rows", [CROSSOVER, 2000])
def test_a_second_form_that_does_not_load_is_an_error_of_predicting(
    notebook_bundle: Path, rows: int
) -> None:
    """It is loaded when it is first needed, for one chunk or more."""
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


@pytest.mark.parametrize("close", [True, False])
def test_workers_end_with_a_classifier_that_is_closed_or_that_nobody_has(
    notebook_bundle: Path, close: bool
) -> None:
    before = set(threading.enumerate())
    gc.disable()
    try:
        classifier = OnnxClassifier(notebook_bundle, num_threads=3)
        classifier.predict(rows_of(notebook_bundle, 2000, 10))
        started = set(threading.enumerate()) - before
        assert len(started) == 2
        if close:
            classifier.close()
        else:
            freed = weakref.ref(classifier)
            del classifier
            assert freed() is None
    finally:
        gc.enable()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
