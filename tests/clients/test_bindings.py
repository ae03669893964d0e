"""The raw graphs in the bindings people use: a bad input is an error, and that is all.

Each binding of onnxruntime loads the file by itself, with nothing of pe_deploy: Python, Node, and
WebAssembly in Node and in a browser. What C, C#, Java and the rest add to the same engine is not
tested here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import open_bundle
from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Signature

Answers = list[list[dict[str, Any]]]
Client = Callable[[list[dict[str, Any]]], list[Answers]]

BUNDLES = Path(__file__).parents[1] / "bundles"
NAMES = ("notebook", "padded", "shortest", "compact")
GRAPHS = ("model.onnx", "model.throughput.onnx")
LEVELS = ("disabled", "basic", "extended", "all")
LOWEST, HIGHEST = -(2**63), 2**63 - 1

# The names of the nodes that fail, by what is wrong.
NO_ROWS = "guard_batch_not_empty"
NO_IDS = "guard_sequence_not_empty"
LONG = "guard_sequence_at_most_{max_length}"
ID = "guard_id_from_0_to_{last}"
PADDING = "guard_padding_on_the_right"
NO_GUARD = ""  # what onnxruntime itself refuses: another name, rank or dtype


@dataclass(frozen=True)
class Bad:
    """An input that a model has to refuse, and the guards of which one has to do it."""

    array: NDArray[Any]
    guards: tuple[str, ...]
    name: str = "input_ids"


def bad_inputs(signature: Signature) -> list[Bad]:
    length, vocab_size = signature.max_length, signature.vocab_size
    token = vocab_size - 1  # which is no padding
    assert token != signature.pad_id

    def bad(array: NDArray[Any], *guards: str, name: str = "input_ids") -> Bad:
        filled = (guard.format(max_length=length, last=vocab_size - 1) for guard in guards)
        return Bad(array, tuple(filled), name)

    def rows(*shape: int) -> NDArray[np.int64]:
        return np.full(shape, token, np.int64)

    def with_id(value: int, row: int, column: int) -> NDArray[np.int64]:
        ids = rows(3, length)
        ids[row, column] = value
        return ids

    empty = [bad(rows(0, columns), NO_ROWS) for columns in (0, 1, length)]
    empty += [bad(rows(count, 0), NO_IDS) for count in (1, 3)]
    long = [
        bad(rows(*shape), LONG)
        for shape in ((1, length + 1), (3, length + 1), (1, 2 * length + 1), (1, 100_000))
    ]
    below = (-1, -vocab_size, -vocab_size - 1, -(2**31), -(2**32) + 1, LOWEST, LOWEST + 1)
    above = (vocab_size, vocab_size + 1, 2**31, 2**32, 2**32 + 1, 2**62, HIGHEST)
    outside = [
        bad(with_id(value, row, column), ID)
        for value in below + above
        for row, column in ((0, 0), (0, length - 1), (2, length - 1))
    ]
    outside += [bad(np.full((2, length), value), ID) for value in (-1, LOWEST, vocab_size, HIGHEST)]
    several = [
        bad(rows(0, length + 1), NO_ROWS, LONG),
        bad(np.full((2, length + 1), -1), LONG, ID),
        bad(np.full((2, length + 1), HIGHEST), LONG, ID),
    ]
    refused = [
        bad(good.astype(dtype), NO_GUARD)
        for good in [rows(1, length)]
        for dtype in ("int32", "uint64", "float32")
    ]
    refused += [bad(rows(*shape), NO_GUARD) for shape in ((), (1,), (length,), (1, length, 1))]
    refused += [bad(rows(1, length), NO_GUARD, name=name) for name in ("ids", "")]
    return [*empty, *long, *outside, *several, *refused, *_bad_padding(signature)]


def _bad_padding(signature: Signature) -> list[Bad]:
    if signature.pad_id is None:
        return []
    pad, token = signature.pad_id, signature.vocab_size - 1
    wrong = [
        [pad, token, token],
        [token, pad, token],
        [token, pad, pad, token, pad],
        [pad, token],
        [pad, pad, pad],
        [pad],
        [pad] * signature.max_length,
        [pad] + [token] * (signature.max_length - 1),
        [token] * (signature.max_length - 2) + [pad, token],
    ]
    alone = [np.array([row]) for row in wrong]
    last = [np.array([[token] * len(row), [token] + [pad] * (len(row) - 1), row]) for row in wrong]
    return [Bad(array, (PADDING,)) for array in alone + last]


def as_request(array: NDArray[Any], name: str = "input_ids") -> dict[str, Any]:
    return {
        "input": name,
        "dtype": array.dtype.name,
        "dims": list(array.shape),
        "base64": base64.b64encode(array.tobytes()).decode(),
    }


@dataclass(frozen=True)
class Work:
    """A bad request before every good one, and what has to come of each."""

    model: Path
    bad: Sequence[Bad]
    good: Sequence[GoldenCase]

    def job(self, levels: Sequence[str] = ("all",), **how: bool) -> dict[str, Any]:
        requests = [
            request
            for wrong, right in zip(self.bad, self.good, strict=True)
            for request in (as_request(wrong.array, wrong.name), as_request(right.input_ids))
        ]
        kind = {"together": False, "alone": False, **how}
        return {"model": str(self.model), "levels": levels, "requests": requests, **kind}

    def check(self, answers: list[dict[str, Any]]) -> None:
        assert len(answers) == 2 * len(self.bad)
        for bad, answer in zip(self.bad, answers[::2], strict=True):
            check_refused(bad, answer)
        for case, answer in zip(self.good, answers[1::2], strict=True):
            assert answer.get("dims") == list(case.float64.shape), answer
            logits = np.reshape(answer["logits"], case.float64.shape)
            np.testing.assert_allclose(logits, case.float64, atol=1e-5)


def check_refused(bad: Bad, answer: dict[str, Any]) -> None:
    wrong = f"{bad.array.dtype} {bad.array.shape}: {answer}"
    error = answer.get("error")
    assert error, wrong
    named = [guard for guard in bad.guards if not guard or f"Name:'{guard}'" in error]
    assert named, wrong


@cache
def work_on(name: str, graph: str = "model.onnx") -> Work:
    opened = open_bundle(BUNDLES / name)
    bad = bad_inputs(opened.manifest.signature)
    golden = opened.golden()
    return Work(BUNDLES / name / graph, bad, [golden[i % len(golden)] for i in range(len(bad))])


@pytest.fixture(scope="session")
def answered(client: Client) -> dict[tuple[str, str], Answers]:
    """What a binding answers for every graph at every level, all in one process."""
    graphs = list(product(NAMES, GRAPHS))
    answers = client([work_on(*graph).job(LEVELS) for graph in graphs])
    return dict(zip(graphs, answers, strict=True))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", NAMES)
def test_one_session_refuses_each_bad_input_and_answers_the_next_good_one(
    answered: dict[tuple[str, str], Answers], name: str, graph: str
) -> None:
    of_levels = answered[name, graph]
    assert len(of_levels) == len(LEVELS)
    for answers in of_levels:
        work_on(name, graph).check(answers)


# Not onnxruntime-web: its runs share one stack, so by itself it cannot have two in flight.
@pytest.mark.parametrize("client", ["Python", "Node"], indirect=True)
def test_requests_in_flight_together_do_not_disturb_each_other(client: Client) -> None:
    works = [work_on(name) for name in NAMES]
    for work, answers in zip(works, client([w.job(together=True) for w in works]), strict=True):
        work.check(answers[0])


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_input_that_comes_first_leaves_its_process_alive(
    python: Client, name: str, graph: str
) -> None:
    work = work_on(name, graph)
    work.check(python([work.job(alone=True)])[0][0])


@pytest.mark.parametrize("client", ["Python", "Node"], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_without_the_guards_an_empty_batch_takes_the_process_down(
    client: Client, name: str, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="the guards are taken out with onnx")
    work = work_on(name)
    model = onnx.load(work.model)
    kept = [
        node
        for node in model.graph.node
        if not node.output[0].startswith(("guard_", "checked_ids"))
    ]
    for node in kept:
        node.input[:] = ["input_ids" if name == "checked_ids" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, tmp_path / "unguarded.onnx")
    good = as_request(work.good[0].input_ids)
    empty = as_request(np.empty((0, 1), np.int64))
    job = {**work.job(), "model": str(tmp_path / "unguarded.onnx")}

    assert "logits" in client([{**job, "requests": [good]}])[0][0][0]
    with pytest.raises(AssertionError, match=r"exit code (-6|134)"):
        client([{**job, "requests": [empty, good]}])
