"""Fixtures for every wing; nothing here imports torch, so that the base install can use them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Tests run side by side, one a core; threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
MADE = Path(__file__).parent / "bundles"  # by make.py there, so that these tests need no torch


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
def demo_bundle() -> Path:
    """The digits model that the README makes."""
    return ROOT / "models" / "demo"


@pytest.fixture(params=["notebook", "padded"])
def any_bundle(request: pytest.FixtureRequest) -> Path:
    """Each of the small bundles in turn."""
    return MADE / str(request.param)


@pytest.fixture
def own_bundle(tmp_path: Path, notebook_bundle: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(notebook_bundle, tmp_path / "bundle"))
