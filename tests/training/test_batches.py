"""How the batches of an epoch are put together and changed."""

from __future__ import annotations

import numpy as np
import pytest

from pe_deploy.data import Dataset
from pe_deploy.errors import InvalidInputError
from pe_deploy.model_config import TrainConfig
from pe_deploy.training.batches import Marks, batches_of, lengths_of
from pe_deploy.training.schedule import learning_rate_at

SPACE, HIDDEN, PADDING = 1, 2, 0


@pytest.fixture
def rows() -> Dataset:
    """200 rows of 1 to 12 ids from 3 to 9, with spaces, each row told by its target."""
    generator = np.random.default_rng(0)
    ids = generator.integers(3, 10, (200, 12))
    ids[generator.random(ids.shape) < 0.2] = SPACE
    ids[:, 0] = 3
    for row, length in enumerate(generator.integers(1, 13, 200)):
        ids[row, length:] = PADDING
    return Dataset(ids, np.arange(200), tuple(range(200)), PADDING)


def _row(batch: Dataset, at: int) -> list[int]:
    row: list[int] = batch.input_ids[at, : lengths_of(batch)[at]].tolist()
    return row


def test_buckets_hold_each_row_once_and_little_padding(rows: Dataset) -> None:
    config = TrainConfig(batch_size=16, shuffle=True, bucket_by_length=True)
    batches = list(batches_of(rows, config, 1, Marks()))
    assert sorted(np.concatenate([batch.targets for batch in batches])) == list(range(200))
    for batch in batches:
        lengths = lengths_of(batch)
        assert batch.input_ids.shape[1] == lengths.max() <= lengths.min() + 2
        for at, target in enumerate(batch.targets):
            assert _row(batch, at) == _row(rows, target)
    orders = [
        [batch.targets.tolist() for batch in batches_of(rows, config, 2, Marks())] for _ in "ab"
    ]
    assert orders[0] == orders[1] != [batch.targets.tolist() for batch in batches]


@pytest.mark.parametrize("space", [None, SPACE])
def test_crops_are_stretches_of_their_rows(rows: Dataset, space: int | None) -> None:
    (batch,) = batches_of(rows, TrainConfig(batch_size=200, crop=0.9), 1, Marks(space=space))
    changed = 0
    for at in range(200):
        whole, part = _row(rows, at), _row(batch, at)
        starts = [i for i in range(len(whole)) if whole[i : i + len(part)] == part]
        assert starts
        if part == whole:
            continue
        changed += 1
        if space is None:
            assert len(part) >= 4
        else:
            padded = [SPACE, *whole, SPACE]
            edges = (padded[i] == SPACE == padded[i + len(part) + 1] for i in starts)
            assert any(edges)
    assert changed > 50


@pytest.mark.parametrize("hidden", [None, HIDDEN])
def test_noise_replaces_its_share_and_no_padding(rows: Dataset, hidden: int | None) -> None:
    (batch,) = batches_of(rows, TrainConfig(batch_size=200, noise=0.3), 1, Marks(hidden=hidden))
    np.testing.assert_array_equal(batch.input_ids == PADDING, rows.input_ids == PADDING)
    differs = batch.input_ids != rows.input_ids
    assert 0.2 < differs.sum() / (rows.input_ids != PADDING).sum() < 0.35
    if hidden is not None:
        assert set(batch.input_ids[differs]) == {hidden}


def test_cosine_rises_over_a_tenth_and_falls_to_nearly_0() -> None:
    config = TrainConfig(learning_rate=2.0, schedule="cosine")
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[9] == max(rates) == 2.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert 0 < learning_rate_at(0, 1, config) <= 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "steps"}, "schedule is 'steps'; allowed: constant, cosine"),
        ({"crop": 1.0}, "crop is 1.0; allowed: 0.0 up to below 1.0"),
        ({"noise": -0.1}, "noise is -0.1; allowed: 0.0 up to below 1.0"),
        ({"weight_decay": "a"}, "weight_decay is 'a'; allowed: 0.0 up to below 10.0"),
        ({"bucket_by_length": 1, "shuffle": True}, "bucket_by_length is 1; allowed: true or false"),
        ({"bucket_by_length": True}, "bucket_by_length is true and shuffle false; allowed: both"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TrainConfig(**settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_what_is_at_its_default_is_not_stated() -> None:
    assert "crop" not in TrainConfig().to_dict()
    config = TrainConfig(crop=0.5, schedule="cosine")
    assert TrainConfig.from_dict(config.to_dict()) == config
