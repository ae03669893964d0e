"""The text graph answers what the ids of its words give, or says why it does not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from pe_deploy.bundle.artifacts import CONFIG_KEY, MODELS, TEXT_ONNX, largest
from pe_deploy.bundle.consistency import check_part
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.bundle.onnx_file import read_onnx
from pe_deploy.config import Signature
from pe_deploy.errors import BundleError, ExportError, PredictionError
from pe_deploy.export import to_onnx
from pe_deploy.export.text_graph import (
    bad_texts,
    check_has_text_graph,
    check_text_graph_refuses,
    text_guard_names,
    to_text_graph,
)
from pe_deploy.model_config import ModelConfig
from pe_deploy.runtime.text_graph import TextGraph, text_graph_predictor
from pe_deploy.training import GRUClassifier

LEVELS = [
    ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
]
WHITE_SPACE = " \t\n\v\f\r"
# What some language takes for white space or for nothing, and these texts for parts of words.
IN_WORDS = (
    "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\U0001f600é"
)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6, padding_idx=0)
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 4)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.head(self.gru(self.embedding(ids))[0])
        return found


class Bag(nn.Module):
    """Labels by the mean of the words that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 8).unsqueeze(2).float()
        found: Tensor = self.head((self.embedding(ids) * real).sum(1) / real.sum(1))
        return found


class Windows(nn.Module):
    """Reads three words at once, and has no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.conv = nn.Conv1d(6, 4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.conv(self.embedding(ids).transpose(1, 2)).amax(2)
        return found


WORDS = ["[PAD]", "[UNK]", "a", "bb", "", "Ärger", "\U0001f600", "w\xa0w", "z"]


class Case(NamedTuple):
    module: type[nn.Module] | ModelConfig
    signature: Signature
    vocabulary: Sequence[str]
    unknown_id: int | None

    def of(self, text: str) -> list[int] | None:
        """The ids of a text; None where it has to be refused."""
        names = (self.signature.pad_id, self.unknown_id)
        known = {
            word.encode(): i for i, word in enumerate(self.vocabulary) if word and i not in names
        }
        found = [known.get(word, self.unknown_id) for word in text.encode().split()]
        ids = [each for each in found if each is not None]
        fits = self.signature.min_length <= len(ids) <= self.signature.max_length
        if "\0" in text or None in found or not fits or {*ids} <= {self.unknown_id}:
            return None
        return ids


NOTEBOOK = ModelConfig(vocab_size=9, max_length=6, num_layers=1)
PADDED = ModelConfig(9, 6, embedding_dim=5, hidden_dim=6, num_classes=3, pad_id=0)

CASES = {
    "padded": Case(PADDED, PADDED.signature, WORDS, 1),
    "padded, every word known": Case(PADDED, PADDED.signature, WORDS, None),
    "notebook": Case(NOTEBOOK, NOTEBOOK.signature, ["", *WORDS[1:]], 1),
    "notebook, every word known": Case(NOTEBOOK, NOTEBOOK.signature, WORDS, None),
    "tokens": Case(Tagger, Signature(9, 6, 4, 0, task="tokens"), WORDS, 1),
    "multilabel": Case(Bag, Signature(9, 6, 3, 8, 2, "multilabel"), [*WORDS[1:], "[PAD]"], 0),
    "three words or more": Case(Windows, Signature(9, 7, 4, min_length=3), WORDS[:7], 1),
    "very long": Case(Bag, Signature(9, 5000, 3, 8), [*WORDS[1:], "[PAD]"], 0),
}


@cache
def of(name: str) -> onnx.ModelProto:
    """The graph of ids; shared: to change it, copy it."""
    torch.manual_seed(5)
    made = CASES[name].module
    module = GRUClassifier(made) if isinstance(made, ModelConfig) else made()
    return to_onnx(module.eval(), CASES[name].signature, metadata={"of": name})


@cache
def text_graph(name: str) -> onnx.ModelProto:
    case = CASES[name]
    return to_text_graph(of(name), case.signature, case.vocabulary, unknown_id=case.unknown_id)


def predictor(name: str) -> TextGraph:
    return text_graph_predictor(text_graph(name).SerializeToString(), CASES[name].signature)


def session(model: onnx.ModelProto, options: ort.SessionOptions | None = None) -> Any:
    options = options or ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def random_text(rng: random.Random, case: Case, most: int) -> str:
    words = [word for word in case.vocabulary if word]
    odd = ["[pad]", "A", "ab", *(f"a{character}a" for character in IN_WORDS), *IN_WORDS]
    spaces = " " if rng.random() < 0.5 else WHITE_SPACE
    parts = []

    def gap(count: int) -> str:
        return "".join(rng.choices(spaces, k=count))

    for _ in range(rng.randint(0, most)):
        parts.append(rng.choice(words if case.unknown_id is None or rng.random() < 0.7 else odd))
        parts.append(gap(rng.choice([1, 1, 1, 2, 5])))
    if rng.random() < 0.03:
        parts.insert(rng.randint(0, len(parts)), "\0")
    return gap(rng.choice([0, 0, 1, 3])) + "".join(parts)


def rows_of(ids: list[list[int]], signature: Signature) -> NDArray[np.int64]:
    rows = np.full((len(ids), max(map(len, ids))), signature.pad_id or 0)
    for row, each in zip(rows, ids, strict=True):
        row[: len(each)] = each
    return rows


@pytest.mark.parametrize("name", CASES)
def test_texts_get_the_answers_of_their_ids(name: str) -> None:
    case = CASES[name]
    rng = random.Random(name)
    predict, by_ids = predictor(name), session(of(name)).run
    texts = [random_text(rng, case, min(8, case.signature.max_length + 1)) for _ in range(400)]
    taken = [(text, ids) for text in texts if (ids := case.of(text)) is not None]
    assert 60 < len(taken) < 400
    same = case.signature.pad_id is None
    while taken:
        # Without padding a batch has texts of one length.
        length = len(taken[0][1])
        batch = [each for each in taken if not same or len(each[1]) == length]
        batch = batch[: rng.randint(1, 9)]
        taken = [each for each in taken if each not in batch]
        logits = predict([text for text, _ in batch])
        rows = rows_of([ids for _, ids in batch], case.signature)
        exact = by_ids(["logits"], {"input_ids": rows})[0]
        assert logits.shape == case.signature.output_shape(*rows.shape)
        np.testing.assert_allclose(logits, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_text_is_refused_just_where_its_ids_would_be(name: str) -> None:
    case = CASES[name]
    rng = random.Random(name)
    predict = predictor(name)
    refused = 0
    for _ in range(300):
        text = random_text(rng, case, min(8, case.signature.max_length + 1))
        if case.of(text) is None:
            refused += 1
            with pytest.raises(PredictionError, match="'guard_"):
                predict([text])
        else:
            assert np.isfinite(predict([text])).all()
    assert refused > 3


@pytest.mark.parametrize("name", CASES)
def test_each_bad_text_fails_in_the_guard_for_it_at_every_optimisation_level(name: str) -> None:
    case = CASES[name]
    model = text_graph(name)
    check_text_graph_refuses(
        model.SerializeToString(), case.signature, case.vocabulary, unknown_id=case.unknown_id
    )
    good = np.array(["a bb  z" if "z" in case.vocabulary else "a bb Ärger"], np.object_)
    bad = bad_texts(case.signature, case.vocabulary, case.unknown_id)
    wanted = session(model).run(None, {"texts": good})[0]
    for level in LEVELS:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        run = session(model, options).run
        for description, (_, texts) in bad.items():
            with pytest.raises(Exception, match="Name:'guard_") as caught:
                run(None, {"texts": np.array(texts, np.object_)})
            assert "onnxruntime" in type(caught.value).__module__, description
            np.testing.assert_allclose(run(None, {"texts": good})[0], wanted, rtol=0, atol=1e-6)


def test_no_optimiser_of_onnxruntime_removes_a_guard(tmp_path: Any) -> None:
    case = CASES["padded"]
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session(text_graph("padded"), options)
    left = {node.name for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert {*text_guard_names(case.signature, unknown_id=case.unknown_id).values()} <= left


@pytest.mark.parametrize(
    "text",
    [
        "a\U0001f600",
        "x" * 10_000_000,
        "a " * 1_000_000,
        "a" + "\r\n" * 1023,
        "a" + "\n" * 1_000_000,
        "a" + " " * 10_000_000,
    ],
)
def test_a_text_may_have_any_size(text: str) -> None:
    case = CASES["padded"]
    predict = predictor("padded")
    if case.of(text) is None or text.count("\n") > 1023:
        with pytest.raises(PredictionError, match="'guard_"):
            predict([text, "a"])
    else:
        assert predict([text, "a"]).shape == (2, 3)


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        ("a é日\U0001f600\ud7ff\ue000\U0010ffff".encode(), True),
        (b"a \xed\xa0\xbd\xed\xb8\x80", False),  # as the JNI of Java has code points above U+FFFF
        (b"a \xc0\x80", False),  # as it has NUL
        (b"a \xff", False),
        (b"a \xe9", False),
        (b"a\n\xf4\x90\x80\x80", False),
    ],
)
def test_bytes_that_are_no_utf8_are_refused(data: bytes, taken: bool) -> None:
    model = copy.deepcopy(text_graph("padded"))
    del model.graph.input[:]
    strings = {"data_type": onnx.TensorProto.STRING, "dims": [1], "string_data": [data]}
    model.graph.initializer.add(name="texts", **strings)
    run = session(model).run
    if taken:
        assert run(None, {})[0].shape == (1, 3)
    else:
        with pytest.raises(Exception, match="Name:'guard_utf8_without_nul"):
            run(None, {})


def test_words_before_the_most_are_not_looked_up_where_there_are_too_many() -> None:
    """The guard that speaks is the one for the length."""
    with pytest.raises(PredictionError, match="guard_sequence_at_most_6"):
        predictor("padded, every word known")(["a a a a a a strange words"])


def test_the_graph_of_ids_is_left_as_it_is_and_its_metadata_copied() -> None:
    before = of("padded").SerializeToString()
    case = CASES["padded"]
    made = to_text_graph(of("padded"), case.signature, case.vocabulary, unknown_id=1)
    assert of("padded").SerializeToString() == before
    assert [(each.key, each.value) for each in made.metadata_props] == [("of", "padded")]
    assert {(each.domain, each.version) for each in made.opset_import} == {
        ("", 20),
        ("ai.onnx.ml", 4),
    }
    assert made.ir_version <= 10  # the newest that onnxruntime 1.18 reads
    kept = made.graph.node[-len(of("padded").graph.node) :]
    assert list(kept) == list(of("padded").graph.node)


def test_the_vocabulary_has_to_fit() -> None:
    signature = CASES["padded"].signature
    for vocabulary, message in (
        (["", *map(str, range(9))], "the vocabulary has 10 entries; allowed: 9, one for each id"),
        (["", "", "a", "b", "a"], "'a' is both id 2 and id 4"),
        (["[PAD]", "[UNK]", ""], "the vocabulary has 0 words; allowed: 1 or more"),
    ):
        with pytest.raises(ExportError, match=message):
            to_text_graph(of("padded"), signature, vocabulary, unknown_id=1)


def test_entries_that_no_text_gives_are_no_words() -> None:
    signature = CASES["padded"].signature
    entries = ["", "", "a b", "a", "b\0", "\n"]
    made = to_text_graph(of("padded"), signature, entries, unknown_id=1)
    check_text_graph_refuses(made.SerializeToString(), signature, entries, unknown_id=1)
    words = next(
        attribute.t.string_data
        for node in made.graph.node
        for attribute in node.attribute
        if attribute.name == "keys_tensor"
    )
    assert list(words) == [b"", b"a"]


def test_an_operator_that_opset_20_reads_otherwise_needs_a_model_of_that_opset() -> None:
    case = CASES["padded"]
    model = copy.deepcopy(of("padded"))
    model.graph.node.append(helper.make_node("GridSample", ["a", "b"], ["c"]))
    with pytest.raises(
        ExportError, match="opset is 18; allowed for a text graph with GridSample: 20 or more"
    ):
        to_text_graph(model, case.signature, case.vocabulary, unknown_id=1)


@pytest.mark.parametrize(
    ("kind", "normalizer", "why"),
    [
        ("bytes", (), "no standard operator gives the bytes of a string"),
        ("characters", (), "no standard operator gives the characters of a string"),
        ("tokenizer.json", ("NFKC",), "what a tokenizer.json does has no standard operators"),
        ("words", ("nfc", "lower-ascii"), "nfc, lower-ascii has no operator but StringNormalizer"),
    ],
)
def test_kinds_without_a_text_graph_are_refused(
    kind: str, normalizer: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ExportError, match=why) as caught:
        check_has_text_graph(kind, normalizer)
    assert "\n" not in str(caught.value)
    check_has_text_graph("words", ())


def test_a_text_graph_that_answers_what_it_should_refuse_is_not_published() -> None:
    case = CASES["padded"]
    longer = Signature(9, 5, 3, 0)
    data = text_graph("padded").SerializeToString()
    with pytest.raises(ExportError, match=r"model\.text\.onnx answers a text of 6 words"):
        check_text_graph_refuses(data, longer, case.vocabulary, unknown_id=1)
    model = copy.deepcopy(text_graph("padded"))
    node = next(node for node in model.graph.node if node.name == "text_plain")
    node.attribute[0].s = b"(?s).*"
    with pytest.raises(ExportError, match=r"does not say what is wrong with a text with NUL"):
        check_text_graph_refuses(
            model.SerializeToString(), case.signature, case.vocabulary, unknown_id=1
        )


def test_the_runner_takes_a_text_graph_of_the_signature_alone() -> None:
    signature = CASES["padded"].signature
    with pytest.raises(BundleError, match=r"model\.text\.onnx has input and output .*input_ids"):
        text_graph_predictor(of("padded").SerializeToString(), signature)
    with pytest.raises(BundleError, match=r"model\.text\.onnx: onnxruntime .* does not load it"):
        text_graph_predictor(b"none", signature)


def test_a_bundle_checks_a_text_graph_as_it_checks_the_others() -> None:
    case = CASES["padded"]
    manifest = Manifest(case.signature, (0, 1, 2), None, "0" * 64, PADDED.to_dict())
    assert TEXT_ONNX in MODELS
    assert largest(TEXT_ONNX) == 2**31 - 1
    model = copy.deepcopy(text_graph("padded"))
    with pytest.raises(BundleError, match="does not say which export it is of"):
        check_part(TEXT_ONNX, model.SerializeToString(), manifest)
    model.metadata_props.add(key=CONFIG_KEY, value=json.dumps(manifest.config()))
    check_part(TEXT_ONNX, model.SerializeToString(), manifest)
    strings = [
        each for each in read_onnx(model.SerializeToString()).tensors if each.name == "words"
    ]
    assert [(each.data_type, each.dims) for each in strings] == [(8, (7,))]
    weights = next(each for each in model.graph.initializer if each.data_type == 1)
    weights.raw_data = np.full(len(weights.raw_data) // 4, np.nan, np.float32).tobytes()
    with pytest.raises(BundleError, match=r"model\.text\.onnx: tensor .* is not finite"):
        check_part(TEXT_ONNX, model.SerializeToString(), manifest)
