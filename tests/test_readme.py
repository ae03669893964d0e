"""The README's commands and snippets do what it says they do."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pe_deploy import ModelConfig
from pe_deploy.training import GRUClassifier


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """What the README's reader has: the committed models, and weights from a notebook."""
    shutil.copytree(root / "models", tmp_path / "models")
    model = GRUClassifier(ModelConfig(vocab_size=12, max_length=10))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    return tmp_path


def shape_of(text: str) -> str:
    """A text without what differs between machines and runs: the digits of its figures."""
    return re.sub(r"\d[\d.,]*(e[-+]\d+)?", "#", " ".join(text.split()))


def says(shown: str, printed: str) -> bool:
    """Whether the output is what the README shows; a line of dots stands for any lines."""
    parts = [re.escape(shape_of(part)) for part in re.split(r"^\.\.\.$", shown, flags=re.M)]
    return re.fullmatch(".*".join(parts).strip(), shape_of(printed)) is not None


def test_every_command_prints_what_it_says(folder: Path, root: Path) -> None:
    blocks = re.findall(r"```console\n\$ (.+)\n((?:.*\n)*?)```", (root / "README.md").read_text())
    assert len(blocks) >= 8
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "COLUMNS": "80"}
    for command, shown in blocks:
        # The whole demo is a step of .ci/run.
        quick = f"{command} --epochs 2" if command == "pe-deploy demo" else command
        done = subprocess.run(
            quick, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        assert says(shown, done.stdout), f"{command} printed:\n{done.stdout}"
        if command == "pe-deploy demo":
            shutil.copytree(root / "models", folder / "models", dirs_exist_ok=True)


def test_the_workflow_runs(folder: Path, root: Path) -> None:
    (command,) = re.findall(r"- run: (pytest .+)", (root / "README.md").read_text())
    environment = {**os.environ, "PYTEST_ADDOPTS": "-q"}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def test_every_snippet_answers_what_it_says(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    failed, tried = doctest.testfile(
        str(root / "README.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert tried > 10
    assert failed == 0


def test_every_command_and_option_named_exists(root: Path) -> None:
    from typer.main import get_command

    from pe_deploy.cli import COMMANDS, app_for

    text = (root / "README.md").read_text()
    commands = get_command(app_for(list(COMMANDS))).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"\n### {name}\n" in text, f"the README does not show {name}"
        section = text.split(f"\n### {name}\n")[1].split("\n## ")[0].split("\n### ")[0]
        known = {option for parameter in command.params for option in parameter.opts}
        for used in re.findall(r"(?<![\w-])--[a-z][a-z-]+", section):
            assert used in known, f"{name} has no {used}"


def test_the_demo_model_is_small_and_committed(root: Path) -> None:
    files = [path for path in (root / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_the_committed_demo_gets_its_held_out_images_right(root: Path) -> None:
    import csv

    from pe_deploy import OnnxClassifier

    with (root / "models" / "demo-held-out.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = [[int(number) for number in row["input_ids"].split()] for row in rows]
    labels = OnnxClassifier(root / "models" / "demo").predict(ids)
    right = sum(int(row["label"]) == label for row, label in zip(rows, labels, strict=True))
    assert len(rows) == 359
    assert right / len(rows) >= 0.93


def test_security_names_tests_that_exist(root: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", (root / "SECURITY.md").read_text()))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (root / name).exists()] == []
