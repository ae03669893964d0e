"""The plugin from outside: pytest in a process and a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import open_bundle
from pe_deploy.bundle.artifacts import GOLDEN
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_to_bytes
from pe_deploy.parity import CHECKS

NO_TORCH = "import sys\nsys.modules['torch'] = None\n"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, root: Path, notebook_bundle: Path, padded_bundle: Path) -> Run:
    """Run pytest in a folder that holds `models/notebook` and `models/padded`, and no tests."""
    shutil.copytree(notebook_bundle, tmp_path / "models" / "notebook")
    shutil.copytree(padded_bundle, tmp_path / "models" / "padded")
    (tmp_path / "no_torch.py").write_text(NO_TORCH)

    def run(*arguments: str, torch: bool = False, **options: Any) -> Any:
        # Named, not found by its entry point, so that it runs the same installed or not.
        plugins = ["-p", "pe_deploy.pytest_plugin", "-p", "no:cacheprovider"]
        plugins += [] if torch else ["-p", "no_torch"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, "-W", "error", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)]),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def collected(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert result.returncode == 0, result.stdout + result.stderr
    return [line for line in result.stdout.splitlines() if "::" in line]


def test_the_torch_free_form_replays_and_passes(run: Run) -> None:
    result = run("--pe-bundle=models/notebook", "--pe-bundle=models/padded", "-v")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no torch: ONNX against its golden vectors and itself" in result.stdout
    passed = [line.split(" PASSED")[0] for line in result.stdout.splitlines() if "PASSED" in line]
    checks = {"notebook": ["golden", "batches", "decisions"]}
    checks["padded"] = ["golden", "padding", "batches", "decisions"]
    # The form for large batches is also held against the other one, in every check.
    assert [test for test in passed if "::throughput" not in test] == [
        f"models/{name}::{test}"
        for name, its in checks.items()
        for test in ["opens", *(f"onnx {check}" for check in its)]
    ]
    for name in checks:
        its = {test.split()[1] for test in passed if f"{name}::throughput" in test}
        assert its == set(CHECKS) - ({"padding"} if name == "notebook" else set())


def test_with_torch_every_check_has_a_test(run: Run) -> None:
    pytest.importorskip("torch")
    ids = collected(run("--pe-bundle=models/padded", "--collect-only", "-q", torch=True))
    assert "models/padded::onnx shapes batch 257" in ids
    assert "models/padded::torchscript golden" in ids
    assert {name.split()[1] for name in ids if "::onnx" in name} == set(CHECKS)
    assert not any("torchscript shapes" in name for name in ids)  # it is the reference
    added = collected(
        run("--pe-bundle=models/padded", "--pe-checkpoint=x", "--collect-only", "-q", torch=True)
    )
    for engine in ("eager", "torchscript", "onnx"):
        assert {name.split()[1] for name in added if f"::{engine} " in name} == set(CHECKS)


def test_the_models_agree_in_two_processes(run: Run) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("xdist")
    arguments = ("--pe-bundle=models/padded", "-k", "onnx and not shapes or onnx and 32")
    result = run(*arguments, "-n", "2", "-p", "xdist", torch=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "7 passed" in result.stdout


def broken(folder: Path) -> None:
    bundle = open_bundle(folder)
    golden = bundle.golden()
    first = golden[0]
    golden[0] = GoldenCase(first.input_ids, first.float64 + 1e-3, first.float32 + 1e-3)
    data = golden_to_bytes(golden, bundle.manifest.weights_sha256)
    write_bundle(folder, bundle.manifest, {**bundle.files, GOLDEN: data})


def test_a_failure_is_told_without_a_traceback(run: Run, tmp_path: Path) -> None:
    broken(tmp_path / "models" / "notebook")
    result = run("--pe-bundle=models/notebook")
    assert result.returncode == 1
    told = result.stdout
    assert "models/notebook::onnx golden" in told
    assert "golden failed in 1 of 17 cells" in told
    for part in ("differs by 0.001", "\nfloor: ", "allowed: ", "smallest failing input: [["):
        assert part in told
    assert "Traceback" not in told
    assert "site-packages" not in told
    assert "evidence.py" not in told
    assert "2 failed, 13 passed" in told
    line = told.split("repeat it: ")[1].splitlines()[0]
    assert line.startswith('python -c "')
    again = subprocess.run(
        [sys.executable, "-c", line.removeprefix('python -c "').removesuffix('"')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr


def test_a_bundle_that_does_not_open_is_one_failing_test(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "models" / "notebook" / "model.onnx").open("ab") as file:
        file.write(b"more")
    result = run("--pe-bundle=models/notebook", "--pe-bundle=models/none")
    assert result.returncode == 1
    assert "2 failed" in result.stdout
    assert "model.onnx was changed after it was published" in result.stdout
    assert "models/none is not a folder" in result.stdout
    assert "Traceback" not in result.stdout


def test_a_checkpoint_that_is_not_there_is_told(run: Run) -> None:
    pytest.importorskip("torch")
    result = run("--pe-bundle=models/notebook", "--pe-checkpoint=none", "-k", "opens", torch=True)
    assert result.returncode == 1
    assert "1 failed" in result.stdout
    assert "Traceback" not in result.stdout
    without = run("--pe-bundle=models/notebook", "--pe-checkpoint=none", "-k", "opens")
    assert "pip install 'pe-deploy[train]'" in without.stdout


def test_a_checkpoint_needs_its_bundle(run: Run) -> None:
    result = run("--pe-checkpoint=none")
    assert result.returncode == 4
    assert "--pe-checkpoint needs one --pe-bundle; given: 0" in result.stderr


def test_without_the_option_nothing_is_added_or_imported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_lean.py").write_text(
        "import sys\n"
        "def test_lean():\n"
        "    assert 'pe_deploy.pytest_plugin' in sys.modules\n"
        "    heavy = {'numpy', 'onnxruntime', 'torch', 'onnx', 'typer', 'pe_deploy.parity'}\n"
        "    assert not heavy & sys.modules.keys()\n"
    )
    result = run(torch=True)
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout
    assert "pe_deploy:" not in result.stdout
