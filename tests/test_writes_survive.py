"""Kills, crowds, full disks and read-only folders: what was there is whole, or the new one is.

Raise `MORE` for figures: it multiplies the kills and the rounds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MORE = 1
SCENES = Path(__file__).with_name("survival.py")


def play(scene: str, place: Path, number: int) -> Any:
    """What a scene of `survival.py` found."""
    done = subprocess.run(
        [sys.executable, str(SCENES), scene, str(place), str(number)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(SCENES.parent.parent), *sys.path]),
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_while_publishing(tmp_path: Path) -> None:
    found = play("killed_publishing", tmp_path, 30 * MORE)
    assert found["damaged"] == []
    assert found["strays after a kill"] > 0  # or nothing was shown to be cleaned


def test_exports_killed_and_at_once(tmp_path: Path) -> None:
    found = play("exporting", tmp_path, 2 * MORE)
    assert (found["damaged"], found["failed"]) == ([], [])


def test_killed_while_training(tmp_path: Path) -> None:
    assert play("killed_training", tmp_path, 3 * MORE)["damaged"] == []


def test_four_publishers_of_one_place(tmp_path: Path) -> None:
    assert play("crowded_publishing", tmp_path, 10 * MORE)["failed"] == []


def test_a_reader_finds_the_old_or_the_new(tmp_path: Path) -> None:
    found = play("reading", tmp_path, 200 * MORE)
    assert found["failed"] == []
    assert all(found["seen"])  # both, or nothing was republished meanwhile


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are closed to others than its user."""
    place = Path(tempfile.mkdtemp())
    try:
        yield place
    finally:
        for folder in (path for path in place.rglob("*") if path.is_dir()):
            folder.chmod(0o700)
        shutil.rmtree(place)


def test_every_command_where_nothing_can_be_written(reachable: Path) -> None:
    """One line that names the place and the reason, and what was there is whole."""
    found = play("hardships", reachable, 0)
    for hardship, reason in (
        ("small files", "[Errno 27] File too large: '"),
        ("read only", "[Errno 13] Permission denied: '"),
        ("full disk", "[Errno 28] No space left on device: '"),
    ):
        if "forbidden" in found[hardship]:
            pytest.skip("this machine lets no test mount a small file system")
        assert found[hardship]["failed"] == []
        assert [line for line in found[hardship]["lines"] if reason not in line] == []
