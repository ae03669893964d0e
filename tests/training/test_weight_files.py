"""Weights as trainers leave them: each file gives the same tensors, or a line that says why not."""

from __future__ import annotations

import argparse
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pe_deploy.errors import CheckpointError
from pe_deploy.model_config import ModelConfig
from pe_deploy.training import GRUClassifier, load_checkpoint
from pe_deploy.training.weight_files import read_weights

State = dict[str, Tensor]
Writer = Callable[[Path], Path]
"""Writes weights into a folder, and says where."""

SAVE = "save the weights with torch.save(model.state_dict(), path)"
NAME = "pe-deploy export model.py:NAME weights.pt"


def _model() -> GRUClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GRUClassifier(ModelConfig(12, 10))


STATE: State = _model().state_dict()
AVERAGE: State = {name: tensor + 1 for name, tensor in STATE.items()}


def _prefixed(prefix: str, state: State = STATE) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _lightning() -> dict[str, Any]:
    adam = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(12, 16)}
    return {
        "epoch": 4,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": _prefixed("model."),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best": torch.tensor(0.3)}},
        "optimizer_states": [{"state": {0: adam}, "param_groups": [{"lr": 1e-3, "params": [0]}]}],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-3, "sizes": [16, 32]},
    }


def _saved(content: Any, name: str = "weights.pt", **options: Any) -> Writer:
    def write(folder: Path) -> Path:
        torch.save(content, folder / name, **options)
        return folder / name

    return write


def _safetensors(name: str) -> Writer:
    def write(folder: Path) -> Path:
        safetensors.torch.save_file(STATE, folder / name)
        return folder / name

    return write


def _hugging_face(folder: Path) -> Path:
    """What `save_pretrained` leaves."""
    _safetensors("model.safetensors")(folder)
    (folder / "config.json").write_text('{"architectures": ["Classifier"], "model_type": "gru"}')
    (folder / "training_args.bin").write_bytes(b"a pickle")
    return folder


def _sharded(
    folder: Path, suffix: str = ".safetensors", index: str = "model.safetensors.index.json"
) -> Path:
    names = sorted(STATE)
    where: dict[str, str] = {}
    for number, part in enumerate((names[:4], names[4:]), start=1):
        file = f"model-{number:05}-of-00002{suffix}"
        where |= dict.fromkeys(part, file)
        shard = {name: STATE[name] for name in part}
        if suffix == ".safetensors":
            safetensors.torch.save_file(shard, folder / file)
        else:
            torch.save(shard, folder / file)
    content = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / index).write_text(json.dumps(content))
    return folder


def _compiled() -> State:
    """torch.compile itself takes seconds; its names are these."""
    return _prefixed("_orig_mod.")


def _parallel() -> State:
    state: State = nn.DataParallel(_model()).state_dict()
    return state


def _averaged() -> State:
    state: State = AveragedModel(_model()).state_dict()
    return state


FIRST = "embedding.weight"
GOOD: dict[str, tuple[Writer, tuple[str, ...]]] = {
    "state_dict": (_saved(STATE), ()),
    "legacy": (_saved(STATE, _use_new_zipfile_serialization=False), ()),
    "pth.tar": (_saved(STATE, "model_best.pth.tar"), ()),
    "no suffix": (_saved(STATE, "weights"), ()),
    "parameters": (_saved(dict(_model().named_parameters())), ()),
    "entry state_dict": (_saved({"state_dict": STATE}), ("read the entry 'state_dict'",)),
    "entry model_state_dict": (
        _saved({"epoch": 3, "model_state_dict": STATE, "loss": torch.tensor(0.1)}),
        ("read the entry 'model_state_dict'",),
    ),
    "entry model and its average": (
        _saved({"ema_state_dict": AVERAGE, "model": STATE, "optimizer": {"state": {}}}),
        ("read the entry 'model', not 'ema_state_dict'",),
    ),
    "only the average": (
        _saved({"ema_state_dict": STATE, "step": 9}),
        ("read the entry 'ema_state_dict'",),
    ),
    "an entry of any name": (_saved({"classifier": STATE}), ("read the entry 'classifier'",)),
    "Lightning": (
        _saved(_lightning(), "epoch=4.ckpt"),
        ("read the entry 'state_dict'", f"read model.{FIRST} as {FIRST}, and 11 more alike"),
    ),
    "DataParallel": (
        _saved(_parallel()),
        (f"read module.{FIRST} as {FIRST}, and 11 more alike",),
    ),
    "AveragedModel": (
        _saved(_averaged()),
        (
            "left out n_averaged, the count of AveragedModel",
            f"read module.{FIRST} as {FIRST}, and 11 more alike",
        ),
    ),
    "torch.compile": (
        _saved(_compiled()),
        (f"read _orig_mod.{FIRST} as {FIRST}, and 11 more alike",),
    ),
    "all of them": (
        _saved({"state_dict": _prefixed("module.net._orig_mod.module.")}),
        (
            "read the entry 'state_dict'",
            f"read module.net._orig_mod.module.{FIRST} as {FIRST}, and 11 more alike",
        ),
    ),
    "safetensors": (_safetensors("weights.safetensors"), ()),
    "safetensors named .pt": (_safetensors("weights.pt"), ()),
    "a pickle named .safetensors": (_saved(STATE, "weights.safetensors"), ()),
    "Hugging Face": (_hugging_face, ("read model.safetensors",)),
    "shards": (
        _sharded,
        ("read model.safetensors.index.json", "joined 2 files of model.safetensors.index.json"),
    ),
    "shards of pickles": (
        lambda folder: _sharded(folder, ".bin", "pytorch_model.bin.index.json"),
        ("read pytorch_model.bin.index.json", "joined 2 files of pytorch_model.bin.index.json"),
    ),
    "an index": (
        lambda folder: _sharded(folder) / "model.safetensors.index.json",
        ("joined 2 files of model.safetensors.index.json",),
    ),
    "a folder of one file": (
        lambda folder: _saved(STATE, "best.pt")(folder).parent,
        ("read best.pt",),
    ),
    "double": (
        _saved({name: tensor.double() for name, tensor in STATE.items()}),
        ("rounded 12 tensors of float64 to float32",),
    ),
    "a half of them": (
        _saved(STATE | {"fc_lay.bias": STATE["fc_lay.bias"].double()}),
        ("rounded 1 tensor of float64 to float32",),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_weights_are_read_whoever_wrote_them(tmp_path: Path, name: str) -> None:
    write, notes = GOOD[name]
    loaded = load_checkpoint(write(tmp_path))
    assert loaded.notes == notes
    for key, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, STATE[key])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrower_floats_are_read_exactly_and_said(tmp_path: Path, dtype: torch.dtype) -> None:
    narrow = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    loaded = load_checkpoint(_saved(narrow)(tmp_path))
    kind = str(dtype).removeprefix("torch.")
    assert loaded.notes == (f"read 12 tensors of {kind} as float32",)
    assert torch.equal(loaded.model.fc_lay.weight, narrow["fc_lay.weight"].float())


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_a_gpu_come_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    with monkeypatch.context() as patch:  # written as on a machine that has one
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:1")
        path = _saved(STATE, _use_new_zipfile_serialization=zipped)(tmp_path)
    weights = read_weights(path)
    assert weights.notes == ("moved from cuda:1 to the CPU",)
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in weights.state.items())


@pytest.mark.parametrize("mark", [b"\x80\x05", b"PK", b"\x1f\x8b"])
def test_a_length_is_not_taken_for_a_mark(tmp_path: Path, mark: bytes) -> None:
    """A `.safetensors` begins with the length of its header, which is any number."""
    data = safetensors.torch.save(STATE)
    end = 8 + int.from_bytes(data[:8], "little")
    length = int.from_bytes(mark, "little")
    header = data[8:end].ljust(length)
    path = _written("w.safetensors", length.to_bytes(8, "little") + header + data[end:])(tmp_path)
    assert torch.equal(read_weights(path).state[FIRST], STATE[FIRST])


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    """Whatever is no weight of floats, too: the model that it is for may have it."""
    state = {"ids": torch.arange(3), "mask": torch.tensor([True]), "inf": torch.tensor(torch.inf)}
    path = _saved(state)(tmp_path)
    weights = read_weights(str(path))
    assert (weights.path, weights.notes) == (path, ())
    assert {name: tensor.dtype for name, tensor in weights.state.items()} == {
        name: tensor.dtype for name, tensor in state.items()
    }


def _written(name: str, data: bytes) -> Writer:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class _Made:
    """What a pickle makes of a size alone."""

    def __init__(self, kind: Any, size: int) -> None:
        self._kind, self._size = kind, size

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return self._kind, (self._size,)


def _scripted(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 1)).save(folder / "model.pt")  # type: ignore[no-untyped-call]
    return folder / "model.pt"


def _numpy(folder: Path) -> Path:
    np.savez(folder / "weights.npz", weight=np.zeros(3))
    return folder / "weights.npz"


def _index(**weight_map: Any) -> Writer:
    return _written("x.index.json", json.dumps({"weight_map": weight_map}).encode())


def _short_of_a_tensor(folder: Path) -> Path:
    _sharded(folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"][FIRST]
    index.write_text(json.dumps(content))
    return folder


def _two_files(folder: Path) -> Path:
    for name in ("a.pt", "b.ckpt"):
        _saved(STATE, name)(folder)
    return folder


REFUSED: dict[str, tuple[Writer, str]] = {
    "a module": (_saved(nn.GRU(2, 2)), f"holds a pickled torch.nn.modules.rnn.GRU, …{SAVE}"),
    "a legacy module": (
        _saved(nn.GRU(2, 2), _use_new_zipfile_serialization=False),
        f"holds a pickled torch.nn.modules.rnn.GRU, …name the class ({NAME}) and {SAVE}",
    ),
    "options beside the weights": (
        _saved({"state_dict": STATE, "hyper_parameters": argparse.Namespace(lr=1)}),
        f"holds a pickled argparse.Namespace, …{SAVE}",
    ),
    "TorchScript": (_scripted, f"is TorchScript, not weights; name the class ({NAME}) and {SAVE}"),
    "ONNX": (_written("model.onnx", b"\x08\x08\x12"), "is ONNX already; allowed: weights of torch"),
    "npz": (_numpy, f"a zip archive (numpy's .npz) without torch's; {SAVE}"),
    "npy": (_written("w.pt", b"\x93NUMPY\x01\0"), f"is an array of numpy; {SAVE}"),
    "Keras": (_written("w.h5", b"\x89HDF\r\n"), f"is HDF5, as Keras writes it; {SAVE}"),
    "gzip": (_written("w.pt.gz", b"\x1f\x8b\x08"), "is compressed by gzip; unpack it first"),
    "another archive": (
        _written("weights.pt", _archive({"a/readme": b"text"})),
        f"a zip archive (another) without torch's; {SAVE}",
    ),
    "a bomb": (
        _written("w.pt", _archive({"a/data.pkl": b".", "a/data/0": bytes(99999)}, 8)),
        f"unpacks to more than the file holds; {SAVE}",
    ),
    "a byte array of terabytes": (
        _saved({**STATE, "x": _Made(bytearray, 2**42)}),
        f"holds a bytearray, which may be of any size; {SAVE}",
    ),
    "a byte array of terabytes before torch 1.6": (
        _saved({**STATE, "x": _Made(bytearray, 2**42)}, _use_new_zipfile_serialization=False),
        f"holds a bytearray, which may be of any size; {SAVE}",
    ),
    "a tensor of a size alone": (
        _saved({**STATE, "x": _Made(torch.FloatTensor, 2**22)}),
        "bytes of weights, in a file of …; save",
    ),
    "half an archive": (
        lambda folder: _written("w.pt", _saved(STATE)(folder).read_bytes()[:9000])(folder),
        f"not a readable archive of torch: File is not a zip file; {SAVE}",
    ),
    "text": (
        _written("weights.pt", b"epoch,loss\n1,0.5\n"),
        "not a file of weights; allowed: what torch.save writes, and .safetensors",
    ),
    "a pointer of Git LFS": (
        _written("weights.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "is a Git LFS pointer, not the file itself; run: git lfs pull",
    ),
    "empty": (_written("weights.pt", b""), f"the file is empty; {SAVE}"),
    "a list": (_saved([torch.zeros(1)]), f"holds a list, not a state_dict; {SAVE}"),
    "a tensor": (_saved(torch.zeros(1)), f"holds a Tensor, not a state_dict; {SAVE}"),
    "a number among tensors": (
        _saved({**STATE, "epoch": 3}),
        f"entry 'epoch' is a int, not a tensor; {SAVE}",
    ),
    "two models": (
        _saved({"generator": STATE, "critic": STATE}),
        "holds 2 sets of tensors, 'generator', 'critic'; "
        f"allowed: one, or one named 'state_dict', 'model_state_dict', 'model'; {SAVE}",
    ),
    "sparse": (
        _saved({"a": torch.eye(3).to_sparse()}),
        "entry 'a' is a sparse tensor; allowed: dense ones",
    ),
    "meta": (
        _saved({"a": torch.empty(3, device="meta")}),
        "entry 'a' is a meta tensor; allowed: dense ones",
    ),
    "an empty folder": (
        lambda folder: folder,
        "holds no weights; allowed: model.safetensors, model.safetensors.index.json, "
        "pytorch_model.bin, pytorch_model.bin.index.json, or one file",
    ),
    "a folder of two": (
        _two_files,
        "holds a.pt, b.ckpt; allowed: model.safetensors, model.safetensors.index.json, "
        "pytorch_model.bin, pytorch_model.bin.index.json, or one file",
    ),
    "an index that leaves the folder": (
        _index(a="../weights.pt"),
        "a is in '../weights.pt'; allowed: a file beside it",
    ),
    "an index to a place": (
        _index(a="/etc/passwd"),
        "a is in '/etc/passwd'; allowed: a file beside it",
    ),
    "an index to itself": (_index(a="x.index.json"), "not a file of weights"),
    "an index of numbers": (_index(a=1), "a is in 1; allowed: a file beside it"),
    "an index of nothing": (_index(), "weight_map is {}; allowed: a file for each tensor"),
    "an index that is none": (
        _written("x.index.json", b"[]"),
        "not an index of weights: list indices must be integers or slices, not str",
    ),
    "an index of a lost file": (_index(a="a.safetensors"), "a.safetensors: no such file or folder"),
    "an index that misses a tensor": (
        _short_of_a_tensor,
        "not as model.safetensors.index.json lists it: embedding.weight",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    write, message = REFUSED[name]
    path = write(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert text.startswith(str(tmp_path))
    assert text.isprintable()
    position = 0
    for part in message.split("…"):
        position = text.find(part, position)
        assert position >= 0, text
