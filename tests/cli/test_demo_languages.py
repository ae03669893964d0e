"""`pe-deploy demo languages`, and the bundle of this repository that it made."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier
from pe_deploy.cli import demo_languages
from pe_deploy.cli.demo_languages import linear_accuracy
from pe_deploy.data.languages import languages

MODELS = Path(__file__).parents[2] / "models"


def test_the_way_from_names_to_answers(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [part.take(np.arange(0, len(part), 20)) for part in languages()]
    monkeypatch.setattr(demo_languages, "languages", lambda: few)
    done = run("demo", "languages", "--epochs", 1, "-o", "bundle", "--checkpoint", "run")
    assert (done.code, done.err) == (0, "")
    for step in ("1. Data", "2. Train", "3. Export", "4. Predict", "a linear model", "Done in"):
        assert step in done.out
    assert (tmp_path / "bundle" / "golden.texts.json").exists()
    done = run("predict", "bundle", "bundle-held-out.csv", "-o", "answers.csv")
    assert done.code == 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == len(few[1].texts) + 1


def test_the_committed_bundle_answers_its_held_out_names() -> None:
    with (MODELS / "languages-held-out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    _, held_out = languages()
    assert [row["text"] for row in rows] == list(held_out.texts)
    labels = OnnxClassifier(MODELS / "languages").predict([row["text"] for row in rows])
    right = np.mean(labels == np.array([row["label"] for row in rows]))
    assert right == pytest.approx(0.891, abs=0.002)


def test_the_linear_model_is_as_the_page_says() -> None:
    assert linear_accuracy(*languages()) == pytest.approx(0.909, abs=0.002)
