from __future__ import annotations

import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from pe_deploy.data import digits, synthetic


def test_synthetic_draws_ids_first_then_labels() -> None:
    calls: list[tuple[int, tuple[int, ...]]] = []

    def draw(high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        calls.append((high, shape))
        return np.full(shape, high - 1)

    dataset = synthetic(draw, rows=6, length=5, vocab_size=9)
    assert calls == [(9, (6, 5)), (2, (6,))]
    assert (dataset.input_ids == 8).all()
    assert dataset.labels == (0, 1)
    assert dataset.targets.tolist() == [1] * 6


def test_synthetic_has_the_notebooks_sizes() -> None:
    dataset = synthetic(lambda high, shape: np.full(shape, high - 1))
    assert dataset.input_ids.shape == (40, 10)
    assert dataset.input_ids.max() == 11


def test_digits_are_rows_of_pixels_in_reading_order() -> None:
    dataset = digits()
    assert dataset.input_ids.shape == (1797, 64)
    assert dataset.input_ids.dtype == dataset.targets.dtype == np.int64
    assert (dataset.input_ids.min(), dataset.input_ids.max()) == (0, 16)
    assert dataset.labels == tuple(range(10))
    assert all(type(label) is int for label in dataset.labels)
    assert dataset.targets[:4].tolist() == [0, 1, 2, 3]
    # The second row of the first image, a zero.
    assert dataset.input_ids[0, 8:16].tolist() == [0, 0, 13, 15, 10, 15, 5, 0]


def test_importing_the_wing_loads_no_extra() -> None:
    heavy = {"torch", "pyarrow", "sklearn"}
    code = f"import sys, pe_deploy.data; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
