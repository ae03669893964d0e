"""Training on texts: the vocabulary is of the training texts, and the checkpoint carries it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import CheckpointError, DataError, InvalidInputError
from pe_deploy.model_config import TrainConfig
from pe_deploy.text.byte_tokenizer import ByteTokenizer
from pe_deploy.training import EagerClassifier, load_checkpoint, train

pytestmark = pytest.mark.usefixtures("without_plot")
SHORT = TrainConfig(epochs=2)


@pytest.fixture
def greetings() -> TextDataset:
    """40 texts, each with a word of its own."""
    texts = [f"good day {n}" for n in range(20)] + [f"guten Tag {n + 20}" for n in range(20)]
    return TextDataset(texts, np.repeat([0, 1], 20), ("de", "en"))


@pytest.mark.parametrize("tokenizer", ["bytes", "words", "characters", ByteTokenizer()])
def test_a_checkpoint_reads_texts(tmp_path: Path, greetings: TextDataset, tokenizer: Any) -> None:
    train(greetings, tmp_path, train_config=SHORT, tokenizer=tokenizer)
    trained = load_checkpoint(tmp_path)
    assert trained.encoder is not None
    assert trained.validation is not None
    assert set(trained.validation_texts) < set(greetings.texts)
    rows = trained.encoder(list(trained.validation_texts))
    width = rows.shape[1]
    np.testing.assert_array_equal(rows, trained.validation.input_ids[:, :width])
    assert set(EagerClassifier(trained).predict(["good day", "Tag"])) <= {"de", "en"}


def test_the_vocabulary_is_of_the_training_texts_alone(
    tmp_path: Path, greetings: TextDataset
) -> None:
    train(greetings, tmp_path / "a", train_config=SHORT, tokenizer="words")
    trained = load_checkpoint(tmp_path / "a")
    assert trained.encoder is not None
    entries = trained.encoder.tokenizer.vocabulary()
    assert len(trained.validation_texts) == 8
    for text in trained.validation_texts:
        assert text.split()[-1] not in entries
    assert {"good", "day", "guten", "Tag"} < set(entries)


def test_a_resumed_run_ends_as_if_never_stopped(tmp_path: Path, greetings: TextDataset) -> None:
    def stop(at: Any) -> None:
        if at.epoch == 2:
            raise KeyboardInterrupt

    options: dict[str, Any] = {
        "train_config": TrainConfig(epochs=3, crop=0.5, noise=0.1),
        "tokenizer": "words",
    }
    train(greetings, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(greetings, tmp_path / "stopped", progress=stop, **options)
    train(greetings, tmp_path / "stopped", resume=True, **options)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "stopped" / path.name).read_bytes()
    with pytest.raises(CheckpointError, match="cannot resume with"):
        train(greetings, tmp_path / "whole", resume=True, **{**options, "min_count": 2})


def test_texts_of_which_nothing_is_known_are_left_out(tmp_path: Path) -> None:
    texts = TextDataset(("a b", "a c", "b a", "d e"), np.array([0, 1, 0, 1]), ("x", "y"))
    config = TrainConfig(epochs=1, validation_fraction=0.0)
    result = train(texts, tmp_path, train_config=config, tokenizer="words", min_count=2)
    assert (result.train_rows, result.validation_rows) == (3, 0)
    assert result.notes == (
        "1 of 4 training texts left out: none of their words is in the vocabulary",
    )


def test_a_file_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"good {n},en\ngut {n},de\n" for n in range(10)))
    result = train(path, tmp_path / "run", train_config=SHORT, tokenizer="bytes", max_length=9)
    assert result.labels == ("de", "en")
    assert result.model_config.max_length == 9
    assert result.model_config.pad_id == 255


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, InvalidInputError, "tokenizer is None; allowed for texts: bytes, "),
        ({"tokenizer": "bytes", "pad_id": 0}, InvalidInputError, "pad_id is 0; of texts, "),
        ({"tokenizer": "bytes", "max_length": 5}, DataError, "'good day 1?0': the text has "),
        ({"tokenizer": ByteTokenizer(), "min_count": 2}, InvalidInputError, "vocab_size and min_"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, greetings: TextDataset, options: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(greetings, tmp_path / "run", train_config=SHORT, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["vocab.txt", "texts.json"])
def test_a_changed_file_is_seen(tmp_path: Path, greetings: TextDataset, name: str) -> None:
    train(greetings, tmp_path, train_config=SHORT, tokenizer="words")
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data.replace(b"good", b"goof"))
    with pytest.raises(CheckpointError, match=f"{name} was changed"):
        load_checkpoint(tmp_path)


def test_a_tokenizer_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("mine\n")
    with pytest.raises(CheckpointError, match=r"holds 'vocab\.txt', which is not of a checkpoint"):
        train("synthetic", tmp_path)
    assert (tmp_path / "vocab.txt").read_text() == "mine\n"


def test_without_validation_the_last_weights_are_the_best(
    tmp_path: Path, greetings: TextDataset
) -> None:
    config = TrainConfig(epochs=3, validation_fraction=0.0)
    result = train(greetings, tmp_path, train_config=config, tokenizer="bytes")
    assert result.best is result.last
    assert "none to validate on" in repr(result)
    assert "<table" in result._repr_html_()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["val_loss"] for line in lines} == {None}
    trained = load_checkpoint(tmp_path)
    assert trained.validation is None
    assert trained.validation_texts == ()
    best, last = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("model", "last"))
    assert best == last


def test_a_label_with_one_row_is_trained_on(tmp_path: Path, greetings: TextDataset) -> None:
    texts = [*greetings.texts, "bonjour"]
    targets = np.append(greetings.targets, 2)
    rows = TextDataset(texts, targets, ("de", "en", "fr"))
    result = train(rows, tmp_path, train_config=SHORT, tokenizer="bytes")
    assert result.notes == ("label 'fr' has 1 row, which is trained on and not held out",)
