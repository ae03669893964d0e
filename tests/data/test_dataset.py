from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pe_deploy.data import Dataset
from pe_deploy.errors import DataError

IDS = np.arange(6).reshape(3, 2)
TARGETS = np.array([0, 1, 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i8"])
def test_other_integers_become_int64(dtype: Any) -> None:
    dataset = Dataset(IDS[::-1].astype(dtype)[::-1], TARGETS.astype(dtype), (0, 1))
    for array, expected in ((dataset.input_ids, IDS), (dataset.targets, TARGETS)):
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
        assert array.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ([3, 1], (3, 1)),
        (tuple(np.array([3, 1], np.int8)), (3, 1)),
        (list(np.array(["b", "a"])), ("b", "a")),
    ],
)
def test_labels_become_a_tuple_of_pythons_own(given: Any, labels: tuple[Any, ...]) -> None:
    dataset = Dataset(IDS, TARGETS, given)
    assert dataset.labels == labels
    assert {type(label) for label in dataset.labels} == {type(labels[0])}


def test_no_rows_are_fine() -> None:
    assert len(Dataset(IDS[:0], TARGETS[:0], (0, 1))) == 0


_IDS = "allowed: an array of integers [rows, length]"
_TARGETS = "allowed: an array of integers [rows]"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"input_ids": IDS.tolist()}, f"input_ids is a list; {_IDS}"),
        ({"input_ids": IDS[0]}, f"input_ids is int64 of shape (2,); {_IDS}"),
        ({"input_ids": IDS.astype(float)}, f"input_ids is float64 of shape (3, 2); {_IDS}"),
        ({"input_ids": IDS > 2}, f"input_ids is bool of shape (3, 2); {_IDS}"),
        (
            {"input_ids": np.full((3, 2), 2**63, np.uint64)},
            f"input_ids has {2**63}, which is outside int64; {_IDS}",
        ),
        ({"targets": [0, 1, 0]}, f"targets is a list; {_TARGETS}"),
        ({"targets": TARGETS[:, None]}, f"targets is int64 of shape (3, 1); {_TARGETS}"),
        ({"targets": TARGETS.astype(np.float32)}, f"targets is float32 of shape (3,); {_TARGETS}"),
        (
            {"targets": TARGETS[:2]},
            "targets are 2; allowed: 3, one for each row of input_ids",
        ),
        ({"targets": TARGETS + 1}, "row 2: target is 2; allowed: 0 to 1"),
        ({"targets": TARGETS - 1}, "row 1: target is -1; allowed: 0 to 1"),
        ({"labels": "ab"}, "labels is a str; allowed: a tuple"),
        ({"labels": (0, "a")}, "labels are [0, 'a']; allowed: all int or all str"),
        ({"labels": (False, True)}, "labels are [False, True]; allowed: all int or all str"),
        ({"labels": (0.0, 1.0)}, "labels are [0.0, 1.0]; allowed: all int or all str"),
        ({"labels": ()}, "labels are []; allowed: all int or all str"),
        ({"labels": ("a",)}, "labels are ['a']; allowed: at least 2 different labels"),
        ({"labels": (1, 2, 1)}, "labels are [1, 2, 1]; allowed: at least 2 different labels"),
    ],
)
def test_what_cannot_be_trained_on_is_one_exact_line(change: dict[str, Any], error: str) -> None:
    with pytest.raises(DataError) as caught:
        Dataset(**{"input_ids": IDS, "targets": TARGETS, "labels": (0, 1), **change})
    assert str(caught.value) == error
