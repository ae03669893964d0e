from __future__ import annotations

import numpy as np
import pytest

from pe_deploy.data import Dataset, TextDataset, split
from pe_deploy.errors import DataError, InvalidInputError


def _dataset(*counts: int) -> Dataset:
    targets = np.repeat(np.arange(len(counts)), counts)
    targets = np.random.default_rng(1).permutation(targets)
    rows = np.arange(len(targets))[:, None]
    return Dataset(rows, targets, tuple("abcdef"[: len(counts)]), pad_id=None)


def test_parts_are_stratified_disjoint_and_in_order() -> None:
    dataset = _dataset(60, 30, 10)
    train, held_out = split(dataset, 0.3, seed=4)
    assert np.bincount(train.targets).tolist() == [42, 21, 7]
    assert np.bincount(held_out.targets).tolist() == [18, 9, 3]
    for part in (train, held_out):
        assert part.labels == dataset.labels
        assert (np.diff(part.input_ids[:, 0]) > 0).all()
        assert np.array_equal(part.targets, dataset.targets[part.input_ids[:, 0]])
    together = np.concatenate([train.input_ids, held_out.input_ids])
    assert np.array_equal(np.sort(together[:, 0]), np.arange(100))


def test_the_seed_decides_and_may_be_large() -> None:
    dataset = _dataset(20, 20)
    first, again, other = (split(dataset, 0.5, seed)[1] for seed in (7, 7, 2**63 - 1))
    assert np.array_equal(first.input_ids, again.input_ids)
    assert not np.array_equal(first.input_ids, other.input_ids)


def test_nothing_held_back() -> None:
    train, held_out = split(_dataset(1, 3), 0.0, seed=0)
    assert (len(train), len(held_out)) == (4, 0)
    assert held_out.input_ids.shape == (0, 1)


def test_the_one_row_of_a_label_is_trained_on() -> None:
    notes: list[str] = []
    train, held_out = split(_dataset(9, 1, 6), 0.5, seed=0, note=notes.append)
    assert np.bincount(train.targets).tolist() == [4, 1, 3]
    assert np.bincount(held_out.targets).tolist() == [5, 0, 3]
    assert notes == ["label 'b' has 1 row, which is trained on and not held out"]
    split(_dataset(9, 1, 6, 1), 0.5, seed=0, note=notes.append)
    assert notes[1:] == ["labels 'b', 'd' have 1 row each, which is trained on and not held out"]


def test_texts_are_split_as_ids_are() -> None:
    ids = _dataset(6, 6)
    texts = TextDataset([f"text {row}" for row in range(12)], ids.targets, ids.labels)
    for part, like in zip(split(texts, 0.5, seed=3), split(ids, 0.5, seed=3), strict=True):
        assert part.texts == tuple(f"text {row}" for row in like.input_ids[:, 0])


@pytest.mark.parametrize(("fraction", "smaller"), [(0.1, 1), (0.001, 0), (0.9, 1)])
def test_a_part_too_small_for_every_label(fraction: float, smaller: int) -> None:
    with pytest.raises(DataError) as caught:
        split(_dataset(5, 5), fraction, seed=0)
    assert str(caught.value) == (
        f"holding back {fraction} of 10 rows leaves a part with {smaller} rows; "
        "it needs at least 2, one for each label"
    )


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_its_range(fraction: float) -> None:
    with pytest.raises(InvalidInputError, match="allowed: 0 up to below 1"):
        split(_dataset(5, 5), fraction, seed=0)


def test_a_negative_seed() -> None:
    with pytest.raises(InvalidInputError, match="seed is -1; allowed: 0 or more"):
        split(_dataset(5, 5), 0.2, seed=-1)
