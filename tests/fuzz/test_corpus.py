"""The readers against every input that was ever a finding, and some damage of their seeds.

`run.py` beside this file looks for new findings, guided by coverage.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import targets

MUTATIONS = 200
LARGEST_CORPUS = 200_000


@pytest.fixture(params=sorted(targets.TARGETS))
def name(request: pytest.FixtureRequest) -> str:
    for module in targets.TARGETS[str(request.param)].needs:
        pytest.importorskip(module, reason=f"{module} is an extra, not installed here")
    return str(request.param)


def test_readers_take_their_seeds(name: str, tmp_path: Path) -> None:
    """A target that refused everything at its first check would find nothing."""
    target = targets.TARGETS[name]
    for data in target.seeds()[:1]:
        target.read(data, tmp_path)


def test_what_was_found_once_is_refused_or_read(name: str, tmp_path: Path) -> None:
    for label, data in targets.corpus(name):
        try:
            targets.TARGETS[name](data, tmp_path)
        except Exception as error:
            raise AssertionError(f"{name}/{label}") from error


def test_damage_is_refused_or_read(name: str, tmp_path: Path) -> None:
    for number, data in enumerate(targets.mutations(name, MUTATIONS)):
        try:
            targets.TARGETS[name](data, tmp_path)
        except Exception as error:
            (tmp_path / "finding").write_bytes(data)
            raise AssertionError(f"mutation {number} of {name}; see {tmp_path}/finding") from error


def test_the_corpus_stays_small() -> None:
    files = [path for path in (targets.HERE / "corpus").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(targets.TARGETS)
    assert sum(path.stat().st_size for path in files) < LARGEST_CORPUS
