"""Fixtures for every wing; nothing here imports torch, so that the base install can use them."""

from __future__ import annotations

import doctest
import gc
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.__main__ import main

# Tests run side by side, one a core; threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As in `pe-deploy` itself: what torch makes and keeps is not looked through again and again.
gc.set_threshold(100_000)

ROOT = Path(__file__).parent.parent
MADE = Path(__file__).parent / "bundles"  # by make.py there, so that these tests need no torch


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbours run in one process, so that what the tests of a file share is made once."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def notebook_bundle() -> Path:
    """The notebook's sizes: a binary logit, no padding, labels 0 and 1."""
    return MADE / "notebook"


@pytest.fixture(scope="session")
def padded_bundle() -> Path:
    """Three classes with names, rows of 1 to 12 ids out of 20, padded with 0."""
    return MADE / "padded"


@pytest.fixture(scope="session")
def compact_bundle() -> Path:
    """The padded one somewhat larger, its weights rounded to float16."""
    return MADE / "compact"


@pytest.fixture(scope="session")
def demo_bundle() -> Path:
    """The digits model that the README makes."""
    return ROOT / "models" / "demo"


@pytest.fixture(params=["notebook", "padded"])
def any_bundle(request: pytest.FixtureRequest) -> Path:
    """Each of the small bundles in turn."""
    return MADE / str(request.param)


@pytest.fixture
def own_c(tmp_path: Path) -> Path:
    """A copy, of a bundle that holds a model in C and no other form, that a test may damage."""
    return Path(shutil.copytree(MADE / "c_plain", tmp_path / "plain"))


@pytest.fixture
def own_bundle(tmp_path: Path, notebook_bundle: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(notebook_bundle, tmp_path / "bundle"))


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as a reader of the documentation has it: with the committed models."""
    shutil.copytree(root / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def examples_pass(folder: Path) -> Callable[[object], bool]:
    """Whether a docstring has examples, and each gives what it shows."""

    def examples_pass(public: object) -> bool:
        (found,) = doctest.DocTestFinder(recurse=False).find(public, str(public))
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        failed, tried = doctest.DocTestRunner(optionflags=options).run(found)
        return tried > 0 and failed == 0

    return examples_pass


@dataclass(frozen=True)
class Done:
    """What a shell would see of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Done]:
    """Run `pe-deploy` with these arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["pe-deploy", *map(str, arguments)])
        capsys.readouterr()
        code, message = 0, ""
        try:
            main()
        except SystemExit as stop:
            if isinstance(stop.code, str):  # the interpreter prints it and exits 1
                code, message = 1, stop.code + "\n"
            else:
                code = stop.code or 0
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err + message)

    return call


def sealed(values: dict[str, Any]) -> bytes:
    """A manifest with these values that vouches for itself, as a skilled forger would make it."""
    values = {name: value for name, value in values.items() if name != "manifest_sha256"}
    text = json.dumps({**values, "manifest_sha256": "0" * 64}, indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "surrogatepass")
    return data.replace(
        b"0" * 64 + b'"\n}\n', hashlib.sha256(data).hexdigest().encode() + b'"\n}\n'
    )


@pytest.fixture
def reseal() -> Callable[..., bytes]:
    """Vouch for a folder as it is, so that no digest tells that it was tampered with.

    `reseal(folder, **changes)` lists what is there, changes fields of the manifest, seals it,
    writes it, and returns its bytes.
    """

    def reseal(folder: Path, **changes: Any) -> bytes:
        manifest = folder / "manifest.json"
        values = json.loads(manifest.read_bytes())
        files = {
            path.name: path.read_bytes()
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in ("manifest.json", "model.sig")
        }
        values["files"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        }
        manifest.write_bytes(data := sealed({**values, **changes}))
        return data

    return reseal
