"""`model.py:NAME` through the command line, as its user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pe_deploy import CheckpointError, ExportError, OnnxClassifier, open_bundle
from pe_deploy.export.adapt.loading import is_target, load_module, parsed

MODEL = """
import layers
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden, words=19, lively=False):
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.head = layers.head(hidden)

    def forward(self, x):
        return self.head(self.embedding(x).mean(1).tanh())

def build():
    return Net(4)

model = Net(5)
number = 3
"""
LAYERS = "from torch import nn\ndef head(hidden):\n    return nn.Linear(hidden, 3)\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "layers.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights_of(hidden: int) -> Path:
    torch.manual_seed(0)
    module = load_module("model.py:Net", None, [f"hidden={hidden}"]).module
    torch.save({"epoch": 3, "model_state_dict": module.state_dict()}, "weights.pt")
    return Path("weights.pt")


@pytest.mark.usefixtures("place")
def test_a_class_with_arguments_and_weights_from_the_command_line() -> None:
    weights_of(6)
    command = [sys.executable, "-m", "pe_deploy", "export", "model.py:Net", "weights.pt"]
    command += ["-o", "bundle", "--arg", "hidden=6", "--max-length", "7", "--labels", "a,b,c"]
    done = subprocess.run([*command, "--format", "onnx"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("weights: read the entry 'model_state_dict'\nread off: voc")
    origin = open_bundle("bundle").manifest.origin
    assert origin is not None
    assert origin["name"] == "Net"
    assert len(origin["file_sha256"]) == 64
    assert OnnxClassifier("bundle").predict([[1, 2, 3]])[0] in "abc"
    command = [sys.executable, "-m", "pe_deploy", "verify", "bundle", "--module", "model.py:Net"]
    command += ["--weights", "weights.pt", "--arg", "hidden=6"]
    verified = subprocess.run(command, capture_output=True, text=True)
    assert "computes what was trained" in verified.stdout, verified.stderr


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", ["build", "model"])
def test_a_function_and_a_module_bring_their_own_weights(name: str) -> None:
    path = list(sys.path)
    loaded = load_module(f"model.py:{name}")
    assert type(loaded.module).__name__ == "Net"
    assert sys.path == path


REFUSED = [
    ("model.py:Net", [], "cannot be called: missing a required argument: 'hidden'"),
    ("model.py:Nett", [], "has no 'Nett'; it has Net, build, model"),
    ("model.py:number", [], "is a int; allowed: an nn.Module"),
    ("model.py:model", ["hidden=3"], "is a module already"),
    ("nothing.py:Net", [], "no such file"),
    ("no.such.package:Net", [], "ModuleNotFoundError"),
    ("model.py:Net", ["hidden"], "allowed: key=value"),
    ("broken.py:Net", [], r"NameError: .* \(at broken.py:2: boom"),
]


@pytest.mark.parametrize(("target", "arguments", "line"), REFUSED)
def test_what_is_wrong_with_a_file_is_one_line(
    place: Path, target: str, arguments: list[str], line: str
) -> None:
    (place / "broken.py").write_text("import os\nboom()\n")
    with pytest.raises(ExportError, match=line) as error:
        load_module(target, None, arguments)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("place")
def test_weights_of_another_size_are_named() -> None:
    weights_of(6)
    with pytest.raises(CheckpointError, match=r"embedding\.weight has shape"):
        load_module("model.py:Net", "weights.pt", ["hidden=5"])


def test_values_and_targets() -> None:
    assert [parsed(f"k={text}")[1] for text in ("3", "0.5", "true", "relu")] == [
        3,
        0.5,
        True,
        "relu",
    ]
    assert is_target("model.py:Net")
    assert is_target("package.module:build")
    assert not is_target("weights.pt")
