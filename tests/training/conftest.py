from __future__ import annotations

import numpy as np
import pytest

from pe_deploy.data import Dataset
from pe_deploy.training import TrainResult, train


@pytest.fixture(scope="session")
def synthetic_run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The notebook's training, once; tests only read its folder."""
    return train("synthetic", tmp_path_factory.mktemp("run") / "checkpoint")


@pytest.fixture
def without_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a small training; its own tests draw."""
    monkeypatch.setattr("pe_deploy.training.loop.plot_positions", lambda *_: None)


@pytest.fixture
def three_classes() -> Dataset:
    """Padded rows, labelled by their first id."""
    generator = np.random.default_rng(0)
    input_ids = generator.integers(1, 6, (30, 5))
    input_ids[:, 0] = np.tile([1, 2, 3], 10)
    for row, length in enumerate(generator.integers(1, 6, 30)):
        input_ids[row, length:] = 0
    return Dataset(input_ids, input_ids[:, 0] - 1, ("one", "two", "three"), pad_id=0)
