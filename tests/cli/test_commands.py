from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from pe_deploy import ModelConfig, OnnxClassifier, cli, open_bundle
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.export import to_torchscript
from pe_deploy.training import GRUClassifier


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A notebook's state_dict."""
    torch.manual_seed(4)
    path = tmp_path / "weights.pt"
    torch.save(GRUClassifier(ModelConfig(vocab_size=12, max_length=10)).state_dict(), path)
    return path


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_help_lists_the_commands_and_wrong_usage_exits_2(run: Callable[..., Any]) -> None:
    done = run("--help")
    assert done.code == 0
    for command in ("demo", "train", "export", "verify", "predict", "inspect", "bench"):
        assert command in done.out
    assert run("export").code == 2
    assert run("fly").code == 2
    assert run("--version").out.startswith("pe-deploy 0.")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['pe-deploy', 'train', '--help']\n"
        "from pe_deploy.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxscript', 'pyarrow', 'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_train_export_verify_inspect(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("train", "synthetic", "--epochs", 3, "-o", "run")
    assert done.code == 0
    assert "positions moved" in done.out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert f"{json.loads(lines[0])['loss']:.6f}" in done.out

    done = run("export", "run", "-o", "bundle")
    assert (done.code, done.err) == (0, "")
    assert "Published bundle" in done.out

    done = run("verify", "bundle", "--checkpoint", "run", "--report", "report.xml")
    assert done.code == 0
    assert "passed" in done.out
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert int(suite.get("tests", 0)) > 100
    assert suite.get("failures") == "0"

    done = run("inspect", "bundle")
    assert done.code == 0
    for text in ("model.onnx", "GRU × 2", "int64 [batch, sequence]", "float32 [batch]", "opset"):
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_notebooks_state_dict_exports_in_one_command(
    run: Callable[..., Any], tmp_path: Path, weights: Path, suffix: str
) -> None:
    source = weights
    if suffix == ".safetensors":
        source = tmp_path / "weights.safetensors"
        save_file(torch.load(weights, weights_only=True), source)
    assert run("export", source, "-o", "bundle").code == 0
    model = GRUClassifier(ModelConfig(vocab_size=12, max_length=10)).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    classifier = OnnxClassifier(tmp_path / "bundle")
    for batch in (1, 2, 7):
        for length in (1, 3, 10):
            ids = np.random.default_rng(length).integers(0, 12, (batch, length))
            expected = model(torch.from_numpy(ids)).detach().numpy()
            np.testing.assert_allclose(classifier.predict_logits(ids), expected, atol=1e-6)
    assert run("verify", "bundle", "--checkpoint", source).code == 0


def test_verify_names_the_wrong_checkpoint(
    run: Callable[..., Any], tmp_path: Path, weights: Path
) -> None:
    assert run("export", weights, "-o", "bundle").code == 0
    state = torch.load(weights, weights_only=True)
    state["fc_lay.bias"] += 0.01
    torch.save(state, tmp_path / "sibling.pt")
    done = run("verify", "bundle", "--checkpoint", "sibling.pt")
    assert done.code == 1
    assert "sibling.pt holds other weights than bundle was made from" in done.err
    assert done.err.count("\n") == 1
    torch.save(
        GRUClassifier(ModelConfig(vocab_size=13, max_length=10)).state_dict(),
        tmp_path / "other.pt",
    )
    done = run("verify", "bundle", "--checkpoint", "other.pt")
    assert done.code == 1
    assert "vocab_size=13" in done.err


def test_golden_only_passes_and_a_tight_tolerance_fails(
    run: Callable[..., Any], notebook_bundle: Path
) -> None:
    assert run("verify", notebook_bundle, "--golden-only").code == 0
    done = run("verify", notebook_bundle, "--golden-only", "--atol", "0", "--rtol", "0")
    assert done.code == 1
    assert "onnx against golden" in done.err


def test_one_weight_changed_by_a_thousandth_fails_the_golden_vectors(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    """In a bundle that is resealed, so that no digest tells."""
    bundle = open_bundle(notebook_bundle)
    model = onnx.load_from_string(bundle.read("model.onnx"))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "fc_lay.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, np.abs(values[0]).argmin()] += 1e-3
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    (tmp_path / "broken").mkdir()
    files = {**bundle.files, "model.onnx": model.SerializeToString()}
    write_bundle(tmp_path / "broken", bundle.manifest, files)
    done = run("verify", "broken", "--golden-only", "--report", "report.xml")
    assert done.code == 1
    assert done.err.startswith("pe-deploy: parity failed (golden")
    assert "Smallest input for: golden: onnx" in done.out
    assert "OnnxClassifier('broken', num_threads=1, form='latency').predict_logits([[" in done.out
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert int(suite.get("failures", 0)) > 0


def test_a_saved_report_is_judged_again(run: Callable[..., Any], notebook_bundle: Path) -> None:
    done = run("verify", notebook_bundle, "--golden-only", "--report", "report.json")
    assert done.code == 0
    assert run("verify", "report.json").code == 0
    done = run("verify", "report.json", "--atol", "0")
    assert done.code == 1
    assert "parity failed (golden" in done.err
    assert run("verify", "nowhere.json").code == 1


def test_a_broken_export_publishes_nothing_and_says_so_in_one_line(
    run: Callable[..., Any], tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("export", weights, "-o", "bundle").code == 0
    before = digests(tmp_path / "bundle")
    torch.manual_seed(5)
    other = GRUClassifier(ModelConfig(vocab_size=12, max_length=10))
    wrong = to_torchscript(other, other.config.signature)
    monkeypatch.setattr("pe_deploy.export.exporter.to_torchscript", lambda *_: wrong)
    done = run("export", weights, "-o", "bundle")
    assert done.code == 1
    assert done.err.startswith("pe-deploy: parity failed (")
    assert done.err.count("\n") == 1
    assert digests(tmp_path / "bundle") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "weights.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "nowhere", "-o", "b"), "nowhere"),
        (("export", "weights.pt", "-o", "b", "--opset", "3"), "opset is 3; allowed: 18 to 23"),
        (("export", "weights.pt", "-o", "b", "--format", "tflite"), "formats are tflite; allowed"),
        (("train", "nowhere.csv"), "nowhere.csv"),
        (("train", "letters"), "letters"),
        (("train", "synthetic", "--epochs", "0"), "epochs is 0"),
        (("train", "synthetic", "--resume"), "resume"),
        (("verify", "nowhere"), "nowhere is not a folder"),
        (("inspect", "."), "holds no manifest.json"),
        (("verify", "b", "--golden-only", "--checkpoint", "c"), "leave out --checkpoint"),
    ],
)
def test_expected_failures_are_one_line(
    run: Callable[..., Any], weights: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run(*arguments)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_bundle_without_its_manifest(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    shutil.copytree(notebook_bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "manifest.json").unlink()
    for command in (("inspect", "bundle"), ("verify", "bundle", "--golden-only")):
        done = run(*command)
        assert done.code == 1
        assert "holds no manifest.json" in done.err


def test_without_the_extra_the_pip_command_is_named() -> None:
    code = (
        "import sys; sys.modules[{missing!r}] = None\n"
        "sys.argv = ['pe-deploy', *{arguments!r}]\n"
        "from pe_deploy.__main__ import main; main()"
    )
    for missing, arguments, extra in (
        ("torch", ["train", "synthetic"], "train"),
        ("typer", ["inspect", "x"], "cli"),
        ("onnx", ["export", "x", "-o", "y"], "train"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(missing=missing, arguments=arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == (
            f"pe-deploy: {missing} is not installed; run: pip install 'pe-deploy[{extra}]'\n"
        )


def test_help_names_each_command_by_its_first_line_and_imports_none() -> None:
    for name, summary in cli.COMMANDS.items():
        assert (cli.command(name).__doc__ or "").splitlines()[0] == summary
    code = (
        "import sys; sys.argv = ['pe-deploy', '--help']\n"
        "import pe_deploy.__main__, pe_deploy.pytest_plugin\n"
        "try: pe_deploy.__main__.main()\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'onnxruntime', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
