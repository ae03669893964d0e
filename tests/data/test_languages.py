"""Names in many languages: the same each time, and no held-out thing has a name in training."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pe_deploy.data.languages import LANGUAGES, languages
from pe_deploy.errors import MissingDependencyError


def test_two_parts_without_a_name_or_a_concept_in_common() -> None:
    training, held_out = languages()
    assert training.labels == held_out.labels == tuple(LANGUAGES)
    assert not set(training.texts) & set(held_out.texts)
    for part in (training, held_out):
        assert len(set(part.texts)) == len(part.texts)
        assert list(part.texts) == sorted(part.texts)
        assert (np.bincount(part.targets) > 100).all()
    assert 0.15 < len(held_out) / (len(training) + len(held_out)) < 0.25
    # One country is in one part in all languages.
    names = {"Ägypten", "Egypten", "Egitto", "Egypti", "Mısır", "Egipto", "Египет"}
    assert names - set(held_out.texts) == names or names - set(training.texts) == names


def test_each_call_gives_the_same() -> None:
    for first, again in zip(languages(), languages(), strict=True):
        assert first.texts == again.texts
        np.testing.assert_array_equal(first.targets, again.targets)


def test_names_of_several_languages_are_in_neither_part() -> None:
    training, held_out = languages()
    assert "Kenya" not in {*training.texts, *held_out.texts}


def test_what_brings_babel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(MissingDependencyError, match=r"babel is not .*'pe-deploy\[demo\]'"):
        languages()
