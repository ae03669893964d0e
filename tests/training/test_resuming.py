"""A run that is killed and resumed ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.data import Dataset
from pe_deploy.errors import CheckpointError
from pe_deploy.model_config import TrainConfig
from pe_deploy.storage import atomic
from pe_deploy.training import Progress, load_checkpoint, train
from pe_deploy.training.resume import identity_of

pytestmark = pytest.mark.usefixtures("without_plot")

CONFIG = TrainConfig(epochs=4, shuffle=True)
DROPOUT = 0.3


def _results(folder: Path) -> dict[str, bytes]:
    """Everything, state to resume from included, and no temporary file left."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class _Stop(Exception):  # noqa: N818 - not an error
    pass


@pytest.mark.parametrize(("epoch", "batch"), [(2, 3), (2, None), (3, 1), (4, 6), (4, None)])
def test_interrupted_anywhere(
    tmp_path: Path, three_classes: Dataset, epoch: int, batch: int | None
) -> None:
    def stop(at: Progress) -> None:
        here = at.metrics is not None if batch is None else at.batch == batch
        if at.epoch == epoch and here:
            raise _Stop

    train(three_classes, tmp_path / "whole", train_config=CONFIG, dropout=DROPOUT)
    output = tmp_path / "stopped"
    with pytest.raises(_Stop):
        train(three_classes, output, train_config=CONFIG, dropout=DROPOUT, progress=stop)
    with pytest.raises(CheckpointError, match="training has not finished here; resume it first"):
        load_checkpoint(output)

    train(three_classes, output, train_config=CONFIG, dropout=DROPOUT, resume=True)

    assert _results(output) == _results(tmp_path / "whole")


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1, "schedule": "cosine"},
        {"bucket_by_length": True, "crop": 0.5, "noise": 0.2},
        {"validation_fraction": 0.0},
    ],
)
def test_interrupted_with_each_option(
    tmp_path: Path, three_classes: Dataset, options: dict[str, Any]
) -> None:
    def stop(at: Progress) -> None:
        if at.epoch == 3:
            raise _Stop

    config = dataclasses.replace(CONFIG, batch_size=7, **options)
    train(three_classes, tmp_path / "whole", train_config=config)
    with pytest.raises(_Stop):
        train(three_classes, tmp_path / "stopped", train_config=config, progress=stop)
    train(three_classes, tmp_path / "stopped", train_config=config, resume=True)
    assert _results(tmp_path / "stopped") == _results(tmp_path / "whole")


def test_a_learning_rate_that_falls_to_an_end_has_that_end(
    tmp_path: Path, three_classes: Dataset
) -> None:
    config = dataclasses.replace(CONFIG, schedule="cosine")
    train(three_classes, tmp_path, train_config=config)
    with pytest.raises(CheckpointError, match="with epochs 5; the run began with 4"):
        train(
            three_classes, tmp_path, train_config=dataclasses.replace(config, epochs=5), resume=True
        )


def test_interrupted_before_any_file_is_written(
    tmp_path: Path, three_classes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, epochs=2)
    train(three_classes, tmp_path / "whole", train_config=config)
    whole = _results(tmp_path / "whole")
    replacing, left = atomic.replacing, 0

    def write_or_stop(path: Path) -> AbstractContextManager[Path]:
        nonlocal left
        if left == 0:
            raise _Stop
        left -= 1
        return replacing(path)

    interrupted = 0
    for writes in range(1, 100):
        output, left = tmp_path / str(writes), writes
        monkeypatch.setattr(atomic, "replacing", write_or_stop)
        try:
            train(three_classes, output, train_config=config)
        except _Stop:
            interrupted += 1
        monkeypatch.undo()
        monkeypatch.setattr("pe_deploy.training.loop.plot_positions", lambda *_: None)
        train(three_classes, output, train_config=config, resume=True)
        assert _results(output) == whole
        if interrupted < writes:
            break
    assert interrupted == 9  # two files an epoch, six at the end, less the very first


_TRAIN_FOREVER = """
import sys
from pe_deploy.model_config import TrainConfig
from pe_deploy.training import train
def report(at):
    if at.metrics:
        print(at.epoch, flush=True)
train("synthetic", sys.argv[1], train_config=TrainConfig(epochs=100_000), dropout=0.3,
      progress=report)
"""


def test_killed_for_real(tmp_path: Path) -> None:
    output = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "-c", _TRAIN_FOREVER, str(output)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if int(line) == 3:
                    break
        finally:
            process.kill()
    done = len((output / "metrics.jsonl").read_text().splitlines())
    assert done >= 3
    config = TrainConfig(epochs=done + 3)

    train("synthetic", output, train_config=config, dropout=0.3, resume=True)
    train("synthetic", tmp_path / "whole", train_config=config, dropout=0.3)

    assert _results(output) == _results(tmp_path / "whole")


def test_more_epochs_go_on_from_a_finished_run(tmp_path: Path, three_classes: Dataset) -> None:
    longer = dataclasses.replace(CONFIG, epochs=6)
    train(three_classes, tmp_path / "run", train_config=CONFIG)
    train(three_classes, tmp_path / "run", train_config=longer, resume=True)
    train(three_classes, tmp_path / "whole", train_config=longer)
    assert _results(tmp_path / "run") == _results(tmp_path / "whole")


def test_a_run_from_before_a_setting_was_there(
    tmp_path: Path, three_classes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_it(*args: Any) -> dict[str, Any]:
        identity = identity_of(*args)
        del identity["update_gate_bias"]
        return identity

    monkeypatch.setattr("pe_deploy.training.loop.identity_of", without_it)
    train(three_classes, tmp_path, train_config=CONFIG)
    monkeypatch.undo()
    longer = dataclasses.replace(CONFIG, epochs=5)
    with pytest.raises(CheckpointError, match=r"update_gate_bias 1.0; the run began with 0.0"):
        train(
            three_classes,
            tmp_path,
            train_config=dataclasses.replace(longer, update_gate_bias=1.0),
            resume=True,
        )
    assert train(three_classes, tmp_path, train_config=longer, resume=True).last.epoch == 5


def test_another_run_is_refused(tmp_path: Path, three_classes: Dataset) -> None:
    output = tmp_path / "run"
    train(three_classes, output, train_config=CONFIG)
    before = _results(output)
    relabelled = dataclasses.replace(three_classes, targets=(three_classes.targets + 1) % 3)

    def refused(message: str, rows: Dataset = three_classes, **changes: Any) -> None:
        sizes = {key: changes.pop(key) for key in ("dropout", "hidden_dim") if key in changes}
        config = dataclasses.replace(CONFIG, **changes)
        with pytest.raises(CheckpointError, match=message):
            train(rows, output, train_config=config, resume=True, **sizes)
        assert _results(output) == before

    refused("cannot resume with learning_rate 0.1; the run began with 0.003", learning_rate=0.1)
    refused("cannot resume with seed 5; the run began with 0", seed=5)
    refused("cannot resume with hidden_dim 8; the run began with 32", hidden_dim=8)
    refused("cannot resume with dropout 0.5; the run began with 0.0", dropout=0.5)
    refused("cannot resume with training rows 'sha256:", rows=relabelled)
    refused("cannot resume with epochs 2; allowed: at least the 4 that are done", epochs=2)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"resume\.safetensors: no such file"):
        train("synthetic", tmp_path / "new", resume=True)
    (tmp_path / "resume.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"resume\.safetensors: not a readable"):
        train("synthetic", tmp_path, resume=True)


def test_every_flipped_bit_of_the_state_is_seen(tmp_path: Path, three_classes: Dataset) -> None:
    train(three_classes, tmp_path, train_config=CONFIG)
    path, generator = tmp_path / "resume.safetensors", random.Random(0)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        bit = generator.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"resume\.safetensors") as caught:
            train(three_classes, tmp_path, train_config=CONFIG, resume=True)
        assert "\n" not in str(caught.value)


def test_the_header_of_the_state_is_under_the_digest(
    tmp_path: Path, three_classes: Dataset
) -> None:
    """A digit of a loss is read from the metadata, and decides which weights are the best."""
    train(three_classes, tmp_path, train_config=CONFIG)
    path = tmp_path / "resume.safetensors"
    data = path.read_bytes()
    at = data.index(b"val_loss") + len(rb"val_loss\": 1.")
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        train(three_classes, tmp_path, train_config=CONFIG, resume=True)


def test_two_runs_in_one_folder(tmp_path: Path, three_classes: Dataset) -> None:
    def second(at: Progress) -> None:
        with pytest.raises(CheckpointError, match="another process is training here"):
            train("synthetic", tmp_path / "run", train_config=CONFIG)

    train(three_classes, tmp_path / "run", train_config=CONFIG, progress=second)
    load_checkpoint(tmp_path / "run")
