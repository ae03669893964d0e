"""From a module or weights, and a tokenizer, to a bundle that takes text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_deploy import (
    ExportError,
    InvalidInputError,
    ModelConfig,
    NativeClassifier,
    OnnxClassifier,
    open_bundle,
)
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.export import Exported, ExportOptions, export, export_module
from pe_deploy.parity import verify_bundle
from pe_deploy.runtime.native import build
from pe_deploy.runtime.text_graph import text_graph_predictor
from pe_deploy.text.building import build_tokenizer
from pe_deploy.text.reading import read_tokenizer
from pe_deploy.training import EagerClassifier, GRUClassifier, load_checkpoint
from tests.needs import need

FAST = ExportOptions(formats=["onnx"], throughput=False)
TEXTS = ("the cat sat", "a dog ran", "the dog sat on a cat", "a cat", "dog ran on", "the the cat")
WORDS = build_tokenizer("words", TEXTS)


class Mean(nn.Module):
    """Not the notebook's architecture: the mean over what is no padding."""

    def __init__(self, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(vocab_size, 6)
        self.head = nn.Linear(6, 3)
        self.pad_id = pad_id

    def forward(self, ids: Tensor) -> Tensor:
        kept = (ids != self.pad_id).unsqueeze(-1).float()
        summed = (self.embedding(ids) * kept).sum(1)
        logits: Tensor = self.head(summed / kept.sum(1).clamp(min=1.0))
        return logits


@pytest.fixture(scope="module")
def of_words(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    data = TextDataset(TEXTS, np.arange(6) % 3, labels=("x", "y", "z"))
    return export_module(
        Mean(WORDS.vocab_size + 5, 0),
        tmp_path_factory.mktemp("words") / "bundle",
        ExportOptions(formats=["onnx"], throughput=False, text_graph=True),
        max_length=6,
        tokenizer=WORDS,
        data=data,
    )


def test_a_module_takes_the_texts_of_its_tokenizer(of_words: Exported) -> None:
    manifest = of_words.bundle.manifest
    assert manifest.labels == ("x", "y", "z")
    assert manifest.signature.pad_id == 0
    assert manifest.text is not None
    assert (manifest.text.kind, manifest.text.unknown, manifest.text.length) == ("words", 1, 6)
    assert "texts are read as words" in "\n".join(of_words.notes)
    classifier = OnnxClassifier(of_words.bundle, self_test=True)
    ids = [WORDS.tokens([text]).ids.tolist() for text in TEXTS]
    np.testing.assert_array_equal(classifier.predict(list(TEXTS)), classifier.predict(ids))


def test_the_rows_of_the_data_are_golden_texts_and_judge_decisions(of_words: Exported) -> None:
    golden = [text for text, _ in of_words.bundle.golden_texts()]
    assert golden[: len(TEXTS)] == list(TEXTS)
    assert [(each.rows, each.real) for each in of_words.report.decisions] == [(6, True)] * 2


def test_the_text_graph_answers_as_the_bundle_does(of_words: Exported) -> None:
    bundle = of_words.bundle
    predict = text_graph_predictor(bundle.read("model.text.onnx"), bundle.manifest.signature)
    expected = OnnxClassifier(bundle).predict_logits(list(TEXTS))
    np.testing.assert_allclose(predict(list(TEXTS)), expected, atol=1e-6)
    report = verify_bundle(bundle, checks=["texts"])
    assert [(cell.predictor, cell.against) for cell in report.cells] == [
        ("tokenizer", "golden"),
        ("text-graph", "model.onnx"),
    ]
    assert report.passed


def test_a_text_graph_of_another_vocabulary_fails_the_proof(
    of_words: Exported, tmp_path: Path
) -> None:
    import onnx

    from pe_deploy.bundle.bundle import Bundle
    from pe_deploy.export.text_graph import to_text_graph

    bundle = of_words.bundle
    entries = WORDS.vocabulary()
    entries[2], entries[3] = entries[3], entries[2]
    model = onnx.load_from_string(bundle.read("model.onnx"))
    other = to_text_graph(model, bundle.manifest.signature, entries, unknown_id=1)
    files = {**bundle.files, "model.text.onnx": other.SerializeToString()}
    report = verify_bundle(Bundle(tmp_path, bundle.manifest, files), checks=["texts"])
    assert report.failed_checks == ("texts",)
    assert report.failures[0].predictor == "text-graph"


def test_c_alone_takes_texts_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    need("cc")
    module, place = Mean(WORDS.vocab_size, 0), tmp_path / "mean"
    options = ExportOptions(formats=["c"], c_name="mean")
    export_module(module, place, options, max_length=6, tokenizer=WORDS, labels=("x", "y", "z"))
    assert "int mean_predict(" in (place / "model.h").read_text()
    card = (place / "README.md").read_text()
    assert "NativeClassifier(" in card
    assert "TorchScriptClassifier" not in card
    ids = WORDS.tokens([TEXTS[0]]).ids.tolist()
    with NativeClassifier(place, build=build(place).where) as classifier:
        expected = module(torch.tensor([ids])).detach().numpy()
        np.testing.assert_allclose(classifier.predict_logits([TEXTS[0]]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "line"),
    [
        ({"tokenizer": "bytes"}, InvalidInputError, "bytes have no normalizer.*padding 255"),
        (
            {"tokenizer": WORDS, "pad_id": 3},
            InvalidInputError,
            "pad_id is 3; allowed: 0, the padding of",
        ),
        (
            {"truncation": "end"},
            InvalidInputError,
            "allowed only with a tokenizer",
        ),
        (
            {"data": TextDataset(TEXTS, np.arange(6) % 3, labels=(0, 1, 2))},
            Exception,
            "the data: the rows are texts; state a tokenizer",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        export_module(Mean(20, 0), tmp_path / "b", FAST, max_length=6, **{"pad_id": 0, **arguments})
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("tokenizer", "line"),
    [
        (None, "a text graph needs a tokenizer"),
        (build_tokenizer("characters", TEXTS), "characters of a string"),
        (build_tokenizer("words", TEXTS, normalizer=("lower-ascii",)), "StringNormalizer"),
    ],
)
def test_a_text_graph_that_would_lie_is_refused(tmp_path: Path, tokenizer: Any, line: str) -> None:
    options = ExportOptions(formats=["onnx"], text_graph=True)
    with pytest.raises(ExportError, match=line):
        export_module(
            Mean(30, 0), tmp_path / "b", options, max_length=6, pad_id=0, tokenizer=tokenizer
        )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook's model for bytes, as plain weights."""
    torch.manual_seed(3)
    model = GRUClassifier(ModelConfig(256, 16, embedding_dim=4, hidden_dim=6))
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


def test_plain_weights_take_labels_threshold_padding_and_a_tokenizer(
    weights: Path, tmp_path: Path
) -> None:
    made = export(
        weights,
        tmp_path / "b",
        FAST,
        labels=["ham", "spam"],
        threshold=0.25,
        tokenizer="bytes",
        truncation="end",
    )
    manifest = made.bundle.manifest
    assert (manifest.labels, manifest.threshold) == (("ham", "spam"), 0.25)
    assert manifest.signature.pad_id == 255
    texts = ["free money now, and more of it", "see you at noon", "né"]
    with OnnxClassifier(tmp_path / "b") as classifier:
        given = classifier.predict_logits(texts)
        assert classifier.truncated == 1
        ids = classifier.encode(texts)
    eager = EagerClassifier(load_checkpoint(weights, pad_id=255))
    np.testing.assert_allclose(given, eager.predict_logits(ids), atol=1e-6)


def test_the_command_exports_weights_with_text(
    weights: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    done = run(
        *("export", weights, "-o", "b", "--format", "onnx", "--no-throughput"),
        *("--tokenizer", "bytes", "--truncate", "start", "--labels", "ham,spam"),
    )
    assert (done.code, done.err) == (0, "")
    assert "texts are read as bytes: ids 0 to 255, padding: id 255" in done.out
    text = open_bundle(tmp_path / "b").manifest.text
    assert text is not None
    assert text.truncation == "start"
    assert "cut at the start" in run("inspect", "b").out
    assert run("verify", "b", "--checkpoint", weights).code == 0
    assert "texts" in run("verify", "b", "--golden-only").out
    refused = run("export", weights, "-o", "c", "--nfc")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "--unknown-id, --lowercase and --nfc are for a --tokenizer" in refused.err
    refused = run("export", weights, "-o", "c", "--max-length", 9)
    assert "allowed with --max-length: model.py:NAME" in refused.err


def test_a_manifest_names_what_its_ids_hang_on(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pieces = read_tokenizer(Path(__file__).parent.parent / "bundles" / "pieces" / "tokenizer.json")
    composed = build_tokenizer("characters", TEXTS, normalizer=("nfc",))
    for tokenizer, names in ((pieces, {"tokenizers"}), (composed, {"unicode"}), (WORDS, set())):
        module = Mean(tokenizer.vocab_size, 0)
        made = export_module(module, tmp_path / "b", FAST, max_length=6, tokenizer=tokenizer)
        assert {"tokenizers", "unicode"} & {*made.bundle.manifest.versions} == names


class Tagger(nn.Module):
    """A label for each token; what it gives for padding is no answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding = nn.Embedding(WORDS.vocab_size, 5)
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.gru(self.embedding(ids))[0])
        return logits


def test_a_token_model_answers_each_word_of_a_text(tmp_path: Path) -> None:
    options = ExportOptions(formats=["onnx"], throughput=False, text_graph=True)
    made = export_module(
        Tagger(), tmp_path / "b", options, max_length=6, task="tokens", tokenizer=WORDS
    )
    assert {cell.predictor for cell in made.report.cells if cell.check == "texts"} == {
        "tokenizer",
        "text-graph",
    }
    classifier = OnnxClassifier(made.bundle, truncation="end")
    answers = classifier.predict(["a cat", "the dog sat on a cat ran"])
    assert [len(labels) for labels in answers] == [2, 6]
    assert classifier.truncated == 1
