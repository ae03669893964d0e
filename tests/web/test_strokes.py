"""From the strokes of a pen to pixels that the model of the digits was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier
from tests.web.digits import drawn

Run = Callable[[str, Any], Any]
ROWS = 40


@pytest.fixture(scope="module")
def drawings() -> list[list[list[tuple[float, float]]]]:
    rng = np.random.default_rng(5)
    return [drawn(digit, rng) for digit in range(10) for _ in range(ROWS)]


@pytest.fixture(scope="module")
def pixels(in_node: Run, drawings: Any) -> Any:
    return np.array(in_node("pixelsOf", drawings))


def test_what_people_draw_is_recognised(pixels: Any, demo_bundle: Path) -> None:
    right = OnnxClassifier(demo_bundle).predict(pixels) == np.repeat(np.arange(10), ROWS)
    each = right.reshape(10, ROWS).mean(axis=1)
    assert right.mean() > 0.9, each
    assert each.min() > 0.5, each


def test_the_pixels_are_as_those_of_the_set(pixels: Any) -> None:
    assert pixels.shape == (10 * ROWS, 64)
    assert pixels.min() == 0
    assert pixels.max() == 16
    assert 250 < pixels.sum(axis=1).mean() < 370


def test_size_and_place_do_not_matter(in_node: Run, drawings: Any, pixels: Any) -> None:
    moved = [
        [[(7 * x + 100, 7 * y - 3) for x, y in stroke] for stroke in strokes]
        for strokes in drawings
    ]
    difference = np.abs(np.array(in_node("pixelsOf", moved)) - pixels)
    assert difference.mean() < 0.05  # a bit on the edge of the pen


@pytest.mark.parametrize(
    "strokes", [[[[3, 3]]], [[[3, 3], [3, 3]]], [[[0, 0], [9, 0]]], [[[0, 0]], [[1, 1]]]]
)
def test_a_dot_and_a_line_are_drawings(in_node: Run, strokes: Any) -> None:
    (pixels,) = in_node("pixelsOf", [strokes])
    assert len(pixels) == 64
    assert sum(pixels) > 0
    assert set(pixels) <= set(range(17))


def test_nothing_is_no_drawing(in_node: Run) -> None:
    assert in_node("pixelsOf", [[], [[]]]) == [None, None]
