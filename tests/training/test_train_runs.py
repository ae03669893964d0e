"""Training: what it takes, what it leaves, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pe_deploy.config import Label
from pe_deploy.data import Dataset
from pe_deploy.errors import CheckpointError, DataError, InvalidInputError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.training import Progress, TrainResult, load_checkpoint, train

SHORT = TrainConfig(epochs=2)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_what_it_should(synthetic_run: TrainResult) -> None:
    output = synthetic_run.output
    assert set(_files(output)) == {
        "config.json",
        "last.safetensors",
        "metrics.jsonl",
        "model.safetensors",
        "positions.npz",
        "positions.png",
        "validation.safetensors",
        "resume.safetensors",
    }
    content = json.loads((output / "config.json").read_text())
    assert len(content.pop("sha256")) == 64
    assert content == {
        "model": ModelConfig(12, 10).to_dict(),
        "training": TrainConfig().to_dict(),
        "labels": [0, 1],
        "threshold": 0.5,
        "files": {
            name: hashlib.sha256((output / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "last.safetensors", "validation.safetensors")
        },
    }
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lines == [dataclasses.asdict(metrics) for metrics in synthetic_run.metrics]
    assert [line["epoch"] for line in lines] == list(range(1, 26))
    assert (synthetic_run.train_rows, synthetic_run.validation_rows) == (40, 40)
    assert synthetic_run.best.val_loss == min(line["val_loss"] for line in lines)
    assert (output / "positions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("without_plot")
@pytest.mark.parametrize("shuffle", [False, True])
def test_one_seed_one_result(tmp_path: Path, three_classes: Dataset, shuffle: bool) -> None:
    def run(name: str, seed: int) -> dict[str, bytes]:
        config = TrainConfig(epochs=2, seed=seed, shuffle=shuffle)
        train(three_classes, tmp_path / name, train_config=config, dropout=0.3)
        return _files(tmp_path / name)

    first = run("first", seed=1)
    torch.rand(7)  # where the caller's generator stands plays no part
    assert run("again", seed=1) == first
    assert run("other", seed=2)["last.safetensors"] != first["last.safetensors"]


def test_the_picture_is_repeatable(tmp_path: Path, three_classes: Dataset) -> None:
    for name in ("first", "second"):
        train(three_classes, tmp_path / name, train_config=TrainConfig(epochs=1))
    assert _files(tmp_path / "first") == _files(tmp_path / "second")


@pytest.mark.usefixtures("without_plot")
def test_shuffling_changes_the_order(tmp_path: Path, three_classes: Dataset) -> None:
    losses = [
        train(
            three_classes, tmp_path / str(shuffle), train_config=TrainConfig(2, shuffle=shuffle)
        ).last.loss
        for shuffle in (False, True)
    ]
    assert losses[0] != losses[1]


@pytest.mark.usefixtures("without_plot")
def test_a_bias_of_the_update_gates_is_where_training_begins(
    tmp_path: Path, three_classes: Dataset
) -> None:
    def untrained(bias: float) -> dict[str, torch.Tensor]:
        config = TrainConfig(epochs=1, learning_rate=0.0, update_gate_bias=bias)
        train(three_classes, tmp_path / str(bias), train_config=config)
        return load_checkpoint(tmp_path / str(bias)).model.state_dict()

    before, after = untrained(0.0), untrained(2.5)
    for layer in (0, 1):
        reset, update, new = before[f"rnn_lay.bias_hh_l{layer}"].chunk(3)
        before[f"rnn_lay.bias_hh_l{layer}"] = torch.cat([reset, update + 2.5, new])
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.usefixtures("without_plot")
def test_the_callers_torch_is_left_as_it_was(tmp_path: Path) -> None:
    threads, rng = torch.get_num_threads(), torch.get_rng_state()
    seen = []
    torch.set_num_threads(2)
    try:
        train(
            "synthetic",
            tmp_path / "run",
            train_config=SHORT,
            dropout=0.1,
            progress=lambda _: seen.append(torch.get_num_threads()),
        )
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), rng)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("without_plot")
def test_progress_counts_batches_and_epochs(tmp_path: Path) -> None:
    seen: list[Progress] = []
    config = TrainConfig(epochs=2, batch_size=15)
    result = train("synthetic", tmp_path / "run", train_config=config, progress=seen.append)
    assert [(at.epoch, at.batch, at.metrics) for at in seen] == [
        *((1, batch, None) for batch in (1, 2, 3)),
        (1, 3, result.metrics[0]),
        *((2, batch, None) for batch in (1, 2, 3)),
        (2, 3, result.metrics[1]),
    ]
    assert {(at.epochs, at.batches) for at in seen} == {(2, 3)}


@pytest.mark.usefixtures("without_plot")
def test_more_than_two_labels(tmp_path: Path, three_classes: Dataset) -> None:
    config = TrainConfig(epochs=30, learning_rate=0.01)
    result = train(three_classes, tmp_path / "run", train_config=config)
    loaded = load_checkpoint(tmp_path / "run")
    assert loaded.config == ModelConfig(6, 5, num_classes=3, pad_id=0)
    assert loaded.labels == ("one", "two", "three")
    assert loaded.threshold is None
    assert result.last.accuracy > 0.9  # the label is the row's first id
    assert {metrics.val_auc for metrics in result.metrics} == {None}
    assert (result.train_rows, result.validation_rows) == (24, 6)


@pytest.mark.usefixtures("without_plot")
def test_two_string_labels_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"input_ids": [1 + row % 2] * (1 + row % 4), "label": ("no", "yes")[row % 2]}
        for row in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = TrainConfig(epochs=5, learning_rate=0.01)
    result = train(path, tmp_path / "run", train_config=config, pad_id=0)
    loaded = load_checkpoint(tmp_path / "run")
    assert loaded.config == ModelConfig(3, 4, num_classes=1, pad_id=0)
    assert (loaded.labels, loaded.threshold) == (("no", "yes"), 0.5)
    assert (result.last.val_accuracy, result.last.val_auc) == (1.0, 1.0)


@pytest.mark.usefixtures("without_plot")
def test_validation_rows_of_their_own(tmp_path: Path, three_classes: Dataset) -> None:
    validation = three_classes.take(np.arange(3))
    result = train(three_classes, tmp_path / "run", train_config=SHORT, validation=validation)
    assert (result.train_rows, result.validation_rows) == (30, 3)


@pytest.mark.usefixtures("without_plot")
def test_auc_is_null_where_validation_has_one_label(tmp_path: Path) -> None:
    ids = np.arange(12).reshape(4, 3)
    rows = Dataset(ids, np.array([0, 1, 0, 1]), (0, 1))
    validation = rows.take(np.array([0, 2]))
    train(rows, tmp_path / "run", train_config=SHORT, validation=validation)
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["val_auc"] is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 3}, r"^rows: row \d+: column \d+ has id \d; allowed: 0 to 2$"),
        ({"max_length": 4}, r"^rows: input_ids has 5 columns; allowed: 1 to 4$"),
    ],
)
def test_rows_beyond_the_given_sizes(
    tmp_path: Path, three_classes: Dataset, sizes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        train(three_classes, tmp_path / "run", **sizes)
    assert not (tmp_path / "run").exists()


def test_refused_settings(tmp_path: Path, three_classes: Dataset) -> None:
    output = tmp_path / "run"
    with pytest.raises(InvalidInputError, match="vocab_size is 0; allowed: "):
        train("synthetic", output, vocab_size=0)
    with pytest.raises(InvalidInputError, match="hidden_dim is 0; allowed: "):
        train(three_classes, output, hidden_dim=0)
    with pytest.raises(InvalidInputError, match="pad_id is 1; allowed: 0, "):
        train(three_classes, output, pad_id=1)
    without_padding = dataclasses.replace(three_classes, pad_id=None)
    with pytest.raises(InvalidInputError, match=r"crop is 0\.5; allowed: 0, "):
        train(without_padding, output, train_config=TrainConfig(crop=0.5))
    with pytest.raises(InvalidInputError, match="tokenizer is bytes; allowed only with texts"):
        train(three_classes, output, tokenizer="bytes")
    others = dataclasses.replace(three_classes, labels=("a", "b", "c"))
    with pytest.raises(DataError, match=r"validation labels are \['a', 'b', 'c'\]; allowed: "):
        train(three_classes, output, validation=others)
    assert not output.exists()


@pytest.mark.parametrize("labels", [(0, 1, 2**63), ("a", "b", "c\0"), ("a", "b", "\ud800")])
def test_labels_that_would_be_lost_are_refused_before_training(
    tmp_path: Path, three_classes: Dataset, labels: tuple[Label, ...]
) -> None:
    rows = dataclasses.replace(three_classes, labels=labels)
    with pytest.raises(InvalidInputError, match="would not come back unchanged"):
        train(rows, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sizes_beyond_memory(
    tmp_path: Path, three_classes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        train(three_classes, tmp_path / "run", hidden_dim=2_000_000_000)
    assert str(caught.value) == (
        "sizes are vocab_size 6, max_length 5, embedding_dim 16, hidden_dim 2000000000, "
        "num_layers 2; allowed: what fits in memory"
    )

    def full(*_: object) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "randint", full)
    with pytest.raises(InvalidInputError, match=r"max_length 2147483647, .* what fits in memory"):
        train("synthetic", tmp_path / "run", max_length=2**31 - 1)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ("9 9", "every id is pad_id 9; allowed: at least one token"),
        (
            "5 9 9 6 9",
            "column 1 has pad_id 9 before the row's last token; allowed: padding on the right only",
        ),
    ],
)
def test_misused_padding_names_file_and_row(tmp_path: Path, ids: str, reason: str) -> None:
    path = tmp_path / "ro\nws.csv"
    path.write_text(f"input_ids,label\n1 2,0\n{ids},1\n")
    with pytest.raises(DataError) as caught:
        train(path, tmp_path / "run", pad_id=9)
    assert str(caught.value) == rf"{tmp_path}/ro\nws.csv: row 2: {reason}"


def test_a_loss_that_is_not_finite_names_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"

    def break_it(at: Progress) -> None:
        if at.epoch == 2 and at.batch == 1:
            monkeypatch.setattr(torch.nn.BCEWithLogitsLoss, "forward", lambda *_: _nan())

    with pytest.raises(InvalidInputError, match="loss is nan in epoch 2; allowed: a finite number"):
        train("synthetic", output, train_config=SHORT, progress=break_it)
    assert set(_files(output)) == {"resume.safetensors", "metrics.jsonl"}
    monkeypatch.undo()
    assert train("synthetic", output, train_config=SHORT, resume=True).last.epoch == 2


def _nan() -> torch.Tensor:
    return torch.tensor(torch.nan, requires_grad=True)


@pytest.mark.usefixtures("without_plot")
def test_a_new_run_replaces_a_former_one(tmp_path: Path, three_classes: Dataset) -> None:
    output = tmp_path / "run"
    train("synthetic", output, train_config=SHORT)
    former = _files(output)
    (output / ".model.safetensors.0123456789abcdef.safetensors").write_bytes(b"left by a kill")

    def fail_early(at: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(three_classes, output, train_config=SHORT, progress=fail_early)
    assert former.items() <= _files(output).items()  # nothing is lost before the first epoch

    train(three_classes, output, train_config=SHORT)
    train(three_classes, tmp_path / "fresh", train_config=SHORT)
    assert _files(output) == _files(tmp_path / "fresh")


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(CheckpointError, match=r"holds 'thesis\.txt', which is not of a checkpoint"):
        train("synthetic", tmp_path)
    with pytest.raises(CheckpointError, match="is a file; allowed: a folder"):
        train("synthetic", tmp_path / "thesis.txt")
    assert set(_files(tmp_path)) == {"thesis.txt"}
