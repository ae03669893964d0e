"""Whatever is put in, the three engines say the same: a right answer, or one line."""

from __future__ import annotations

import collections
import copy
import datetime
import itertools
import pickle
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from pe_deploy import (
    BundleError,
    InvalidInputError,
    ModelConfig,
    OnnxClassifier,
    PredictionError,
    open_bundle,
)
from pe_deploy.bundle.artifacts import ONNX, TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.export import ExportOptions, Source, export_module
from pe_deploy.runtime import Classifier
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.training import Checkpoint, EagerClassifier, GRUClassifier

MANY = settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
VOCABULARY, LONGEST = 20, 12
CONFIGS = (
    ModelConfig(VOCABULARY, LONGEST, embedding_dim=4, hidden_dim=5, num_layers=1),
    ModelConfig(VOCABULARY, LONGEST, embedding_dim=4, hidden_dim=5, num_classes=3, pad_id=0),
)


@dataclass(frozen=True)
class Engines:
    """One model behind eager torch, TorchScript and onnxruntime."""

    checkpoint: Checkpoint
    bundle: Bundle
    all: tuple[Classifier, ...]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> list[Engines]:
    """A binary model, and one of three classes that pads with 0."""
    return [_engines(config, tmp_path_factory.mktemp("bundles")) for config in CONFIGS]


def _engines(config: ModelConfig, folder: Path) -> Engines:
    torch.manual_seed(0)
    model = GRUClassifier(config).eval().requires_grad_(False)
    ids = torch.randint(1, VOCABULARY, (200, LONGEST))
    model.fc_lay.bias.sub_(model(ids).mean(0))  # so that every label occurs
    labels = tuple(range(config.signature.num_labels))
    threshold = 0.5 if config.num_classes == 1 else None
    source = Source(model, config.signature, labels, threshold, config.to_dict())
    export_module(source, folder / "bundle", ExportOptions(crossover=24))
    checkpoint = Checkpoint(model, config, labels, threshold)
    bundle = open_bundle(folder / "bundle")
    torchscript, onnx_alone = TorchScriptClassifier(bundle), OnnxClassifier(bundle, num_threads=1)
    return Engines(checkpoint, bundle, (EagerClassifier(checkpoint), torchscript, onnx_alone))


# What is put in.

_IDS = st.integers(-2, VOCABULARY + 1)
_GOOD = st.integers(1, VOCABULARY - 1)
_DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *(">i2", ">i4", ">i8", ">u8", "float16", "float32", ">f8", "complex64", "object"),
    *("S3", "U2", ">U2", "datetime64[s]", "timedelta64[ns]", "longlong"),
]


class Subclass(np.ndarray[Any, Any]):
    """An array by another name."""


class Fails:
    """Fails in every way in which it can be looked at."""

    def _fail(self, *args: object, **named: object) -> Any:
        raise ZeroDivisionError("one\ntwo")

    __len__ = __iter__ = __getitem__ = __array__ = __index__ = __int__ = __float__ = _fail
    dtype = ndim = shape = property(_fail)


class FailsAsList(list[Any]):
    """A list that cannot be iterated."""

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError


class Frame:
    """Something like a data frame: it makes an array of itself."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


def _loop() -> list[Any]:
    loop: list[Any] = [[1, 2]]
    loop.append(loop)
    return loop


def _deep(depth: int) -> list[Any]:
    deep: list[Any] = [1]
    for _ in range(depth):
        deep = [deep]
    return deep


_LAYOUTS: list[Callable[[NDArray[Any]], Any]] = [
    lambda array: array,
    lambda array: array.T,
    lambda array: array[::-1] if array.ndim else array,
    lambda array: array[..., ::-2] if array.ndim else array,
    lambda array: np.asfortranarray(array),
    lambda array: np.broadcast_to(array, (3, *array.shape)) if array.ndim == 1 else array,
    lambda array: np.broadcast_to(array[:1], array.shape) if array.ndim and array.size else array,
    lambda array: array.view(Subclass),
    lambda array: np.ma.masked_array(array),
    lambda array: array.view(np.matrix) if array.ndim == 2 else array,
    lambda array: list(array) if array.ndim else array,
    lambda array: array.tolist(),
    lambda array: Frame(array),
    lambda array: collections.deque(array) if array.ndim else array,
]

_arrays = st.sampled_from(_DTYPES).flatmap(
    lambda dtype: npst.arrays(
        np.dtype(dtype), npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)
_near = st.sampled_from(["i1", "u1", ">i2", "<u4", "i8", ">i8", "u8", "f4"]).flatmap(
    lambda dtype: npst.arrays(
        np.dtype(dtype),
        st.tuples(st.integers(0, 3), st.integers(0, LONGEST + 1)),
        elements=st.integers(0, VOCABULARY).map(float if dtype == "f4" else int),
    )
)
_laid_out = st.builds(
    lambda array, layout: layout(array), _arrays | _near, st.sampled_from(_LAYOUTS)
)
_leaves = st.one_of(
    _IDS,
    st.integers(-(2**80), 2**80),
    st.booleans(),
    st.floats(),
    st.none(),
    st.text(max_size=2),
    st.binary(max_size=2),
    _GOOD.map(np.uint8),
    _GOOD.map(np.float64),
    st.booleans().map(np.bool_),
    _GOOD.map(np.array),
    _GOOD.map(torch.tensor),
    st.just(np.ma.masked),
    st.just(datetime.date(2020, 1, 1)),
)
_rows = st.lists(_GOOD, max_size=LONGEST + 1)
_mixed_rows = st.lists(_GOOD | _leaves, max_size=4)
_nested = st.one_of(
    st.lists(_rows, max_size=4),
    st.lists(_rows.map(tuple), max_size=4).map(tuple),
    st.lists(_rows.map(lambda row: np.array(row, np.int16)), max_size=4),
    st.lists(_mixed_rows, min_size=1, max_size=3),
    st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(_IDS | st.booleans(), min_size=size, max_size=size))
    ),
    st.recursive(_leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=8),
    st.lists(_arrays, max_size=3),
)
_tensors = (
    (_arrays | _near)
    .filter(lambda array: array.dtype.kind in "biufc" and array.dtype.isnative)
    .map(lambda array: torch.tensor(array.copy()))
)
_odd_tensors = st.sampled_from(
    [
        torch.ones(2, 3, requires_grad=True),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.ones(2, 3, dtype=torch.int64).to_sparse(),
        torch.ones(2, 3, dtype=torch.int64, device="meta"),
        torch.ones(2, 3, dtype=torch.complex64).conj(),
        torch.ones(6, dtype=torch.int64).reshape(2, 3).T,
        torch.ones(2, 1, dtype=torch.int32).expand(2, 5),
    ]
)
_OTHERS: list[Any] = [
    *(None, True, 3, 2.5, "12", b"12", {1, 2}, {"a": 1}, {1: [2]}, range(3), object(), int),
    *([range(3), range(3)], [{1, 2}], ["12", "34"], [[]], [[], []], [[], [1]], [None], [[None]]),
    *(_loop(), _deep(10), _deep(100), _deep(100_000)),
    *(Frame("text"), Frame(None), Frame(np.array([[1, 2]])), Frame(np.ma.masked_array([[1]]))),
    *(Frame(np.array([[1.9]])), [Frame(np.array([1, 2])), [3, 4]], [Frame(np.array([True]))]),
    *(np.array([(1, 2)], [("a", int), ("b", "f4")]), np.array([[b"1"]]), np.array(None)),
    *([[1, True]], [[1, np.True_]], [[True], [2]], [[1], [2, True]], [[1, 2.0]], [[1.0]]),
    *([[2**63]], [[2**63, 1]], [[2**64]], [[-(2**63)]], [[-(2**63) - 1]], [[1], [2, 2**64]]),
    *([np.array([1], np.uint64), np.array([2])], np.array([[2**64 - 3]], np.uint64)),
    *([[np.ma.array(3, mask=True), 4]], [np.ma.masked_array([1, 2], mask=[False, True]), [1, 2]]),
    *(memoryview(b"abc"), bytearray(b"abc"), [memoryview(b"ab"), b"c"], types.SimpleNamespace()),
    *(np.datetime64("2020"), [[np.timedelta64(1, "s"), 2]], [[datetime.date(2020, 1, 1)]]),
    *(collections.deque([[1, 2]]), collections.deque([[1, True]]), collections.UserList([[1]])),
]
_anything = st.one_of(_laid_out, _nested, _tensors, _odd_tensors)


# What should come out.


def plain_rows(value: Any) -> list[list[int]] | None:
    """The ids as Python's own lists of integers; None where they are none."""
    if isinstance(value, np.ma.MaskedArray):
        return None
    if isinstance(value, Frame):
        return plain_rows(value.array)
    try:
        rows = [_plain_row(row) for row in value]
    except (TypeError, ValueError, NotImplementedError):
        return None
    return None if any(row is None for row in rows) else rows  # type: ignore[return-value]


def _plain_row(row: Any) -> list[int] | None:
    if isinstance(row, np.ma.MaskedArray):
        return None
    if isinstance(row, Frame):
        row = row.array
    row = np.ravel(row).tolist() if isinstance(row, np.matrix) else row
    members = [each.item() if hasattr(each, "item") else each for each in row]
    return members if all(type(each) is int for each in members) else None


def outcome(classifier: Classifier, value: Any) -> NDArray[np.float32] | str:
    try:
        return classifier.predict_logits(value)
    except InvalidInputError as error:
        return str(error)


@MANY
@given(value=_anything)
def test_a_right_answer_or_one_line(engines: list[Engines], value: Any) -> None:
    check(engines, value)


@pytest.mark.parametrize("number", range(len(_OTHERS)))
def test_a_right_answer_or_one_line_to_what_is_odd(engines: list[Engines], number: int) -> None:
    check(engines, _OTHERS[number])


@pytest.mark.parametrize(
    "value", [Fails(), [Fails()], [[Fails()]], FailsAsList([[1, 2]]), [FailsAsList([1, 2]), [3]]]
)
def test_what_an_inputs_own_code_raises_passes_through(engines: list[Engines], value: Any) -> None:
    for classifier in engines[0].all:
        with pytest.raises(ZeroDivisionError):
            classifier.predict_logits(value)


def check(engines: list[Engines], value: Any) -> None:
    for engine in engines:
        outcomes = [outcome(classifier, value) for classifier in engine.all]
        first = outcomes[0]
        if isinstance(first, str):
            assert outcomes == [first] * 3
            assert "\n" not in first
            assert first.startswith(("input_ids ", "row "))
            assert not plainly_valid(value), first
            continue
        rows = plain_rows(value)
        assert rows is not None, "what holds no integers was answered"
        ids = padded(rows)
        for classifier, logits in zip(engine.all, outcomes, strict=True):
            assert not isinstance(logits, str)
            np.testing.assert_array_equal(logits, classifier.predict_logits(ids))
            np.testing.assert_allclose(logits, first, atol=1e-5)


def padded(rows: list[list[int]]) -> NDArray[np.int64]:
    columns = list(itertools.zip_longest(*rows, fillvalue=0))
    return np.array(columns, np.int64).reshape(len(columns), len(rows)).T


def plainly_valid(value: Any) -> bool:
    """Whether both models have to answer: full rows of good ids, as an array or as lists."""
    if isinstance(value, np.ndarray):
        good = value.dtype.kind in "iu" and not isinstance(value, np.ma.MaskedArray)
        value = value.tolist() if good else None
    elif isinstance(value, torch.Tensor):
        ordinary = value.layout == torch.strided and value.device.type == "cpu"
        value = value.tolist() if ordinary else None
    if type(value) not in (list, tuple):
        return False
    if not all(type(row) in (list, tuple) and 1 <= len(row) <= LONGEST for row in value):
        return False
    return len({len(row) for row in value}) == 1 and all(
        type(each) is int and 1 <= each < VOCABULARY for row in value for each in row
    )


def test_an_array_of_one_id_read_backwards(engines: list[Engines]) -> None:
    """numpy calls it contiguous, and torch refuses its stride."""
    backwards = np.array([[3]])[::-1, ::-1]
    for engine in engines:
        for classifier in engine.all:
            expected = classifier.predict_logits([[3]])
            np.testing.assert_array_equal(classifier.predict_logits(backwards), expected)


def test_labels_are_one_too(engines: list[Engines]) -> None:
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (200, 5))
    for engine in engines:
        labels = [classifier.predict(ids).tolist() for classifier in engine.all]
        assert labels[0] == labels[1] == labels[2]
        assert len(set(labels[0])) > 1


@pytest.mark.parametrize("which", range(3))
def test_each_engine_can_be_copied_and_closed(engines: list[Engines], which: int) -> None:
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    classifier = engines[0].all[which]
    expected = classifier.predict_logits(ids)
    for made in (
        pickle.loads(pickle.dumps(classifier)),
        copy.copy(classifier),
        copy.deepcopy(classifier),
        cloudpickle.loads(cloudpickle.dumps(classifier)),
    ):
        with made:
            np.testing.assert_array_equal(made.predict_logits(ids), expected)
        with pytest.raises(PredictionError, match="was closed"):
            made.predict(ids)
    np.testing.assert_array_equal(classifier.predict_logits(ids), expected)


def test_a_damaged_pickle_of_torchscript_is_refused(engines: list[Engines]) -> None:
    classifier = engines[0].all[1]
    model = engines[0].bundle.read(TORCHSCRIPT)
    data = bytearray(pickle.dumps(classifier))
    data[data.index(model) + len(model) // 2] ^= 1
    with pytest.raises(BundleError, match=r"model\.pt was changed after it was published"):
        pickle.loads(bytes(data))


def test_what_overflows_on_the_way_is_an_error_in_each(engines: list[Engines]) -> None:
    """Every weight is finite, and so is every state; the head's sum is not."""
    ids = np.array([[1, 2, 3]])
    engine = engines[0]
    model = copy.deepcopy(engine.checkpoint.model)
    heads: list[torch.Tensor] = []
    hook = model.fc_lay.register_forward_pre_hook(lambda _, given: heads.append(given[0]))
    model(torch.from_numpy(ids))
    hook.remove()
    model.fc_lay.weight.copy_(3e38 * heads[0].sign())
    model.fc_lay.bias.fill_(3e38)
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())

    old = engine.bundle
    graph = onnx.load_from_string(old.read(ONNX))
    state = {"fc_lay.weight": model.fc_lay.weight, "fc_lay.bias": model.fc_lay.bias}
    for tensor in graph.graph.initializer:
        if tensor.name in state:
            tensor.raw_data = state[tensor.name].numpy().tobytes()
    changed = Bundle(old.path, old.manifest, {ONNX: graph.SerializeToString()})
    checkpoint = Checkpoint(model, engine.checkpoint.config, (0, 1), 0.5)
    for classifier in (EagerClassifier(checkpoint), OnnxClassifier(changed, num_threads=1)):
        with pytest.raises(PredictionError, match="row 0: the logit is inf; an answer needs"):
            classifier.predict(ids)
