"""What `inspect` and `verify` say of folders that hold more or less than was published."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bundle(tmp_path: Path, notebook_bundle: Path) -> Path:
    """Where `run` finds it as "bundle"."""
    return Path(shutil.copytree(notebook_bundle, tmp_path / "bundle"))


def test_a_whole_bundle(run: Callable[..., Any], bundle: Path) -> None:
    done = run("inspect", "bundle")
    assert (done.code, done.err) == (0, "")
    assert "bundle: every file is as it was published" in done.out
    assert "Not part of the bundle" not in done.out
    assert run("verify", "bundle", "--golden-only", "--strict").code == 0


@pytest.mark.parametrize("name", [".DS_Store", ".gitattributes", ".cache", "LICENSE", "notes.md"])
def test_an_extra_entry_is_listed_and_strictly_refused(
    run: Callable[..., Any], bundle: Path, name: str
) -> None:
    (bundle / name).mkdir() if name == ".cache" else (bundle / name).touch()
    done = run("inspect", "bundle")
    assert done.code == 0
    assert "bundle: every file is as it was published" in done.out
    assert name in done.out.partition("Not part of the bundle")[2]
    assert run("verify", "bundle", "--golden-only").code == 0
    done = run("verify", "bundle", "--golden-only", "--strict")
    assert done.code == 1
    assert f"bundle holds {name}, which its manifest.json does not list" in done.err
    assert done.err.count("\n") == 1


def test_changed_prose_is_said(run: Callable[..., Any], bundle: Path) -> None:
    for change in (
        lambda: (bundle / "README.md").write_text("other"),
        (bundle / "README.md").unlink,
    ):
        change()
        done = run("inspect", "bundle")
        assert done.code == 0
        assert "README.md" in done.out.partition("\n")[0]
        assert "every other file is as it was published" in done.out
        assert run("verify", "bundle", "--golden-only").code == 0
        done = run("verify", "bundle", "--golden-only", "--strict")
        assert done.code == 1
        assert "README.md" in done.err


@pytest.mark.parametrize("golden", [True, False])
def test_a_slim_copy_says_what_it_lacks(
    run: Callable[..., Any], bundle: Path, golden: bool
) -> None:
    kept = {"manifest.json", "model.onnx", "README.md", *(["golden.npz"] if golden else [])}
    for path in bundle.iterdir():
        if path.name not in kept:
            path.unlink()
    done = run("inspect", "bundle")
    assert done.code == 0
    assert "model.pt" in done.out.partition("every other file is as it was published")[0]
    done = run("verify", "bundle", "--golden-only")
    assert done.code == (0 if golden else 1)
    assert golden or "lacks golden.npz, which its manifest.json lists" in done.err
    done = run("verify", "bundle")
    assert done.code == 1
    assert ("lacks model.pt, " if golden else "lacks golden.npz") in done.err
    assert run("verify", "bundle", "--strict").code == 1


def test_strict_goes_with_a_bundle_only(run: Callable[..., Any], bundle: Path) -> None:
    assert run("verify", "report.json", "--strict").code == 1
    assert run("verify", "bundle", "--self-test", "--strict").code == 1
