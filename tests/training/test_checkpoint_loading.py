"""Weights of all origins: good ones load, others are named."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pe_deploy.config import Weights
from pe_deploy.errors import CheckpointError, InvalidInputError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.training import GRUClassifier, TrainResult, load_checkpoint, train

State = dict[str, Tensor]


def _state(config: ModelConfig | None = None) -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GRUClassifier(config or ModelConfig(12, 10)).state_dict()


def _save(state: State, path: Path) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)


def _logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    return logits


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    "config", [ModelConfig(12, 10), ModelConfig(7, 5, 3, 4, num_layers=3, num_classes=6)]
)
def test_a_plain_state_dict_tells_its_sizes(
    tmp_path: Path, suffix: str, config: ModelConfig
) -> None:
    path, state = tmp_path / f"weights{suffix}", _state(config)
    _save(state, path)
    rng = torch.get_rng_state()

    loaded = load_checkpoint(path)

    assert loaded.config == config
    assert loaded.labels == tuple(range(config.signature.num_labels))
    assert loaded.threshold == (0.5 if config.num_classes == 1 else None)
    assert not loaded.model.training
    assert torch.equal(torch.get_rng_state(), rng)
    for key, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[key])
    original = GRUClassifier(config).eval()
    original.load_state_dict(state)
    assert torch.equal(_logits(loaded.model), _logits(original))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_dtypes_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: tensor.to(dtype) for key, tensor in _state().items()}
    torch.save(state, tmp_path / "weights.pt")
    for key, tensor in load_checkpoint(tmp_path / "weights.pt").model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[key].float())


def _without(key: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if name != key}


def _with(key: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, key: tensor}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("rnn_lay.bias_hh_l1"), "rnn_lay.bias_hh_l1 is missing; expected shape [96]"),
        (_without("embedding.weight"), "embedding.weight is missing; its keys: fc_lay.bias, "),
        (lambda _: {}, "embedding.weight is missing; its keys: none"),
        (
            _with("rnn_lay.weight_ih_l0_reverse", torch.zeros(96, 16)),
            "rnn_lay.weight_ih_l0_reverse with shape [96, 16] is unexpected",
        ),
        (
            _with("fc_lay.weight", torch.zeros(1, 64)),
            "fc_lay.weight has shape [1, 64]; expected [1, 32]",
        ),
        (_with("fc_lay.weight", torch.zeros(32)), "fc_lay.weight has shape [32]; expected 2-D"),
        (_with("embedding.weight", torch.zeros(0, 16)), "vocab_size is 0; allowed: "),
        (
            _with("fc_lay.bias", torch.zeros(1, dtype=torch.int64)),
            "fc_lay.bias with shape [1] is int64; expected dense floats",
        ),
        (
            _with("fc_lay.bias", torch.tensor([torch.nan])),
            "fc_lay.bias with shape [1] has values that are not finite in float32",
        ),
        (
            _with("fc_lay.bias", torch.tensor([1e300], dtype=torch.float64)),
            "fc_lay.bias with shape [1] has values that are not finite in float32",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, suffix: str, change: Callable[[State], State], message: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    _save(change(_state()), path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_many_misfits_make_one_short_line(tmp_path: Path) -> None:
    more = {f"more.{name}": torch.zeros(1) for name in "abcdefgh"}
    torch.save({**_state(), **more}, tmp_path / "more.pt")
    with pytest.raises(
        CheckpointError, match=r"more\.a with .*; more\.e with [^;]*; and 3 more; for another model"
    ):
        load_checkpoint(tmp_path / "more.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GRUClassifier(ModelConfig(12, 10)),
            "holds a pickled pe_deploy.training.model.GRUClassifier, which only code can make",
        ),
        ({"model_state_dict": [_state()]}, "entry 'model_state_dict' is a list, not a tensor"),
        ({"state_dict": {}}, "entry 'state_dict' is a dict, not a tensor"),
        ([1, 2], "holds a list, not a state_dict"),
    ],
)
def test_a_pt_file_of_something_else_says_how_to_save(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert str(caught.value).endswith("save the weights with torch.save(model.state_dict(), path)")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    _save(_state(), path)
    if damage == "missing":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "half": whole[:9000], "text": b"not weights\n"}[damage])
    with pytest.raises(CheckpointError, match=name) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothere", "nothere.pt", "a\0b.pt", "a\0b.safetensors"])
def test_a_path_with_nothing_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / name)
    shown = name.replace("\0", r"\x00")
    assert str(caught.value) == f"{tmp_path / shown}: no such file or folder"


def test_a_number_that_stands_for_many(tmp_path: Path) -> None:
    """A small file whose tensor would take 256 GiB once it is copied."""
    state = {"embedding.weight": torch.zeros(1).expand(2**30, 64)}
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"'embedding.weight' .* more than the file holds"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_name_of_a_tensor_stays_in_its_line(tmp_path: Path) -> None:
    torch.save({"a\nb": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"its keys: a\\nb; "):
        load_checkpoint(tmp_path / "model.pt")


def _with_former_rows(folder: Path, rows: bytes) -> None:
    """The folder as it was written when its rows were in a `.npz`."""
    (folder / "validation.safetensors").unlink()
    (folder / "validation.npz").write_bytes(rows)
    names = ("model.safetensors", "last.safetensors", "validation.npz")
    _reseal(folder, files=dict.fromkeys(names, ""))


def test_rows_of_a_former_checkpoint_are_read(folder: Path) -> None:
    rows = load_checkpoint(folder).validation
    assert rows is not None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, input_ids=rows.input_ids, targets=rows.targets)
    _with_former_rows(folder, buffer.getvalue())
    former = load_checkpoint(folder).validation
    assert former is not None
    np.testing.assert_array_equal(former.input_ids, rows.input_ids)
    np.testing.assert_array_equal(former.targets, rows.targets)
    train("synthetic", folder, train_config=TrainConfig(epochs=1))
    assert not (folder / "validation.npz").exists(), "a new run leaves rows of the former one"


def test_former_rows_that_state_more_than_they_are(folder: Path) -> None:
    """numpy would ask for 8 TB before it looks at the file's end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
        size = len(header).to_bytes(2, "little")
        for name in ("input_ids", "targets"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + size + header)
    _with_former_rows(folder, buffer.getvalue())
    with pytest.raises(
        CheckpointError, match=r"not the rows of a validation: .* 0 bytes for int64"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"input_ids": torch.ones(2, 3)}, "'targets'"),
        (
            {"input_ids": torch.ones(2, 3), "targets": torch.zeros(2, dtype=torch.int64)},
            r"input_ids is float32 .*; allowed: an array of integers",
        ),
        (
            {"input_ids": torch.ones(2, 3, dtype=torch.bfloat16), "targets": torch.zeros(2)},
            "BFloat16",
        ),
    ],
)
def test_rows_that_are_none(folder: Path, tensors: State, message: str) -> None:
    safetensors.torch.save_file(tensors, folder / "validation.safetensors")
    _reseal(folder)
    with pytest.raises(CheckpointError, match=rf"not the rows of a validation: .*{message}"):
        load_checkpoint(folder)


def test_best_and_last_weights(synthetic_run: TrainResult) -> None:
    best, last = (
        load_checkpoint(synthetic_run.output, weights=weights).model.state_dict()
        for weights in ("best", "last")
    )
    assert synthetic_run.best.epoch != synthetic_run.last.epoch
    assert not torch.equal(best["fc_lay.weight"], last["fc_lay.weight"])
    with pytest.raises(InvalidInputError, match="weights is 'worst'; allowed: 'best' or 'last'"):
        load_checkpoint(synthetic_run.output, weights="worst")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, synthetic_run: TrainResult) -> Path:
    shutil.copytree(synthetic_run.output, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def _reseal(folder: Path, **changes: Any) -> None:
    """Change fields of `config.json` as one would who computes the digests anew."""
    content = {**json.loads((folder / "config.json").read_bytes()), **changes}
    content["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in content["files"]
    }
    del content["sha256"]
    text = json.dumps(content, indent=2) + "\n"
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"{ torn", b"[" * 100_000])
def test_a_folder_with_a_damaged_file(folder: Path, name: str, damage: bytes | None) -> None:
    (folder / "resume.safetensors").unlink()
    (folder / name).unlink()
    if damage is not None:
        (folder / name).write_bytes(damage)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", [0], "labels are [0]; allowed: 2 distinct labels"),
        ("labels", [1, 1], "labels are [1, 1]; allowed: 2 distinct labels"),
        ("labels", [[], {}], "labels are [[], {}]; allowed: all int or all str"),
        ("threshold", None, "threshold is None; allowed: 0.0 to 1.0"),
        ("threshold", 1.5, "threshold is 1.5; allowed: 0.0 to 1.0"),
        ("model", {"vocab_size": 0, "max_length": 1}, "vocab_size is 0; allowed: "),
        ("model", {"vocab_size": 3}, "ModelConfig: unknown fields [], missing fields ["),
        ("model", None, ""),
    ],
)
def test_a_config_that_makes_no_sense(folder: Path, field: str, value: Any, message: str) -> None:
    path = folder / "config.json"
    _reseal(folder, **{field: value})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_config_of_sizes_beyond_memory(folder: Path) -> None:
    _reseal(folder, model=ModelConfig(12, 10, hidden_dim=2_000_000_000).to_dict())
    with pytest.raises(CheckpointError, match=r"weight_ih_l0 has shape .*expected \[6000000000,"):
        load_checkpoint(folder)


def test_weights_of_another_size_than_the_config(folder: Path) -> None:
    safetensors.torch.save_file(_state(ModelConfig(13, 10)), folder / "model.safetensors")
    _reseal(folder)
    with pytest.raises(CheckpointError, match=r"embedding.weight has shape \[13, 16\]; expected"):
        load_checkpoint(folder)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_every_flipped_bit_of_what_is_read_is_seen(folder: Path, weights: Weights) -> None:
    weights_file = {"best": "model.safetensors", "last": "last.safetensors"}[weights]
    generator = random.Random(0)
    load_checkpoint(folder, weights=weights)
    for name in ("config.json", weights_file, "validation.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(40):
            bit = generator.randrange(8 * len(whole))
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
                load_checkpoint(folder, weights=weights)
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    load_checkpoint(folder, weights=weights)


def test_files_of_two_runs_are_no_checkpoint(folder: Path) -> None:
    shutil.copy(folder / "last.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(caught.value) == (
        f"{folder / 'model.safetensors'} was changed after it was written: "
        "its SHA-256 is not the one in config.json"
    )


@pytest.mark.parametrize("field", ["training", "more"])
@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, '"\\ud800"'])
def test_a_config_that_cannot_be_written_again(folder: Path, field: str, value: str) -> None:
    path = folder / "config.json"
    path.write_text(f'{path.read_text().rstrip()[:-1]}, "{field}": {value}}}')
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)
