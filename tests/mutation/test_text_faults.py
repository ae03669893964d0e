"""Each fault on the way from texts to ids is caught by the check of texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pe_deploy import ParityError, open_bundle
from pe_deploy.mutation.texts import TEXT_FAULTS, text_outcomes

BUNDLES = Path(__file__).parent.parent / "bundles"

NOT_PLANTED = {
    "bytes": {"a lost normaliser", "split at Unicode's white space"},
    "words": {"a lost normaliser"},
    "characters": {"split at Unicode's white space"},
    # Its normaliser puts texts in lower case itself.
    "pieces": {"a lower-caser", "split at Unicode's white space"},
}


@pytest.mark.parametrize("name", NOT_PLANTED)
def test_every_fault_is_caught(name: str) -> None:
    outcomes = list(text_outcomes(open_bundle(BUNDLES / name)))
    assert [outcome.fault for outcome in outcomes] == [fault.name for fault in TEXT_FAULTS]
    assert {outcome.fault for outcome in outcomes if not outcome.planted} == NOT_PLANTED[name]
    assert all(o.caught_by == ("texts",) for o in outcomes if o.planted)


def test_a_bundle_of_ids_has_none(notebook_bundle: Path) -> None:
    assert list(text_outcomes(open_bundle(notebook_bundle))) == []


def test_a_bundle_that_fails_is_not_tested(tmp_path: Path, reseal: Callable[..., bytes]) -> None:
    copied = Path(shutil.copytree(BUNDLES / "words", tmp_path / "words"))
    lines = (copied / "vocab.txt").read_bytes().split(b"\n")
    lines[-2], lines[-3] = lines[-3], lines[-2]
    (copied / "vocab.txt").write_bytes(b"\n".join(lines))
    reseal(copied)
    with pytest.raises(ParityError, match=r"fails \(texts\) before any fault is planted"):
        list(text_outcomes(open_bundle(copied)))
