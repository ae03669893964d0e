"""What people hold in place of an array: taken, or refused in words of what it is."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import numpy as np
import pytest

from pe_deploy import InvalidInputError, Signature
from pe_deploy.runtime import to_input_ids

PADDED = Signature(vocab_size=20, max_length=12, pad_id=0)
ROWS = [[1, 2, 3], [4, 5]]
IDS = [[1, 2, 3], [4, 5, 0]]
ALLOWED = "allowed: integers [batch, sequence], as an array or nested lists"
NO_TOKENIZER = "text is taken where there is a tokenizer, in a list of texts alone"


class Column:
    """A column of pandas or of polars: numpy reads it, and it is no list."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: Any) -> Any:
        return self.values[at]


class Frame(Column):
    """A frame of them: it has names, too."""

    def __init__(self, values: Any, columns: list[str]) -> None:
        super().__init__(values)
        self.columns = columns

    def __getitem__(self, at: Any) -> Any:
        return self.values[:, self.columns.index(at)]


class NAType:
    """As pandas writes a missing value."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


def objects(*values: Any) -> Any:
    """Values in an array of objects, as numpy makes it of a column of lists."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    "given",
    [
        objects(*ROWS),
        objects(*map(np.array, ROWS)),
        np.array(IDS, object),
        Column(objects(*ROWS)),
        Frame(np.array(IDS, object), ["a", "b", "c"]),
        Frame(objects(*ROWS)[:, None], ["input_ids"]),
        [Column(np.array([1, 2, 3], object)), [4, 5]],
        {"input_ids": ROWS},
        UserDict(input_ids=np.array(IDS), attention_mask=np.array(IDS) > 0),
        UserDict(input_ids=IDS, attention_mask=[[1, 1, 1], [1, 1, 0]], token_type_ids=IDS),
        {"input_ids": ROWS, "attention_mask": [[1, 1, 1], [1, 1]]},
        memoryview(np.array(IDS).data),
    ],
)
def test_what_holds_rows_is_taken(given: Any) -> None:
    ids = to_input_ids(given, PADDED)
    assert ids.dtype == np.int64
    assert ids.tolist() == IDS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("good day", f"input_ids is 'good day'; {NO_TOKENIZER}; {ALLOWED}"),
        (["good", "day"], f"row 0: is 'good'; {NO_TOKENIZER}"),
        (Column(objects("x" * 99)), f"row 0: is '{'x' * 40}'…; {NO_TOKENIZER}"),
        (b"\1\2", rf"input_ids is b'\x01\x02'; {NO_TOKENIZER}; {ALLOWED}"),
        ({1, 2}, f"input_ids is a set, which has no order; {ALLOWED}"),
        (
            (row for row in ROWS),
            f"input_ids is a generator, which can be read once only; give list(…) of it; {ALLOWED}",
        ),
        (object(), f"input_ids is a object; {ALLOWED}"),
        ([np.array(False), np.array([], bool)], "row 0: is a ndarray, not a list of ids"),
        ({"ids": ROWS, 7: 1}, "input_ids is a dict without 'input_ids'; its keys: 'ids', 7"),
        ([{"input_ids": [1]}], "row 0: is a dict, not a list of ids"),
        (Column(objects([1], None)), "row 1: is None, not a list of ids"),
        ([[1, None]], "row 0: column 1 has None; allowed: integers"),
        ([[1], [2, None]], "row 1: column 1 has None; allowed: integers"),
        ([[1, 2.0]], "row 0: column 1 has 2.0; allowed: integers"),
        ([[1, "a"]], "row 0: column 1 has 'a'; allowed: integers"),
        ([[1, True]], "row 0: column 1 has True; allowed: integers"),
        ([[1, object()]], "row 0: column 1 has a object; allowed: integers"),
        ([[1, 2], np.array([True, False])], "row 1: column 0 has True; allowed: integers"),
        ([np.array([1.0, np.nan])], "row 0: column 1 has nan; allowed: integers"),
        ([[2**63, 1]], f"row 0: column 0 has id {2**63}; allowed: 0 to 19"),
        ([[1], [2, -(2**70)]], f"row 1: column 1 has id {-(2**70)}; allowed: 0 to 19"),
        ([[10**5000, 1]], "row 0: column 0 has id an integer of many digits; allowed: 0 to 19"),
        (
            Frame(np.array([[1.0, 2], [3, np.nan]]), ["a", "b"]),
            "row 1: column 'b' has nan; allowed: integers",
        ),
        (
            Frame(np.array([[1, 2], [NAType(), 4]], object), ["a", "b"]),
            "row 1: column 'a' has <NA>; allowed: integers",
        ),
        (Frame(np.array([[1.5, 2]]), ["a", "b"]), "row 0: column 'a' has 1.5; allowed: integers"),
    ],
)
def test_what_does_not_is_told_what_it_is(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        to_input_ids(given, PADDED)
    assert str(caught.value) == message


_MASKS = "allowed: 1 over tokens, 0 over padding, which is all that the model masks"


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            [[1, 0, 1], [1, 1, 0]],
            f"row 0: column 1 of attention_mask is 0 over the token 2; {_MASKS}",
        ),
        ([[1] * 3] * 2, f"row 1: column 2 of attention_mask is 1 over the padding 0; {_MASKS}"),
        ([1, 1], "attention_mask is of shape (2,); allowed: (2, 3), as input_ids"),
        ([[[1], 1]], "attention_mask is not readable; allowed: (2, 3), as input_ids"),
    ],
)
def test_a_mask_of_anything_but_padding_is_refused(mask: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        to_input_ids({"input_ids": IDS, "attention_mask": mask}, PADDED)
    assert str(caught.value) == message


def test_without_padding_a_mask_has_nothing_to_mask() -> None:
    plain = Signature(vocab_size=20, max_length=12)
    given = {"input_ids": [[1, 0]], "attention_mask": [[1, 1]]}
    assert to_input_ids(given, plain).tolist() == [[1, 0]]
    with pytest.raises(InvalidInputError, match="column 1 of attention_mask is 0 over the token 0"):
        to_input_ids({**given, "attention_mask": [[1, 0]]}, plain)


def test_columns_of_pyarrow() -> None:
    pa = pytest.importorskip("pyarrow")
    for column in (
        pa.array(ROWS),
        pa.chunked_array([ROWS[:1], ROWS[1:]]),
        pa.array(ROWS, pa.large_list(pa.int8())),
    ):
        assert to_input_ids(column, PADDED).tolist() == IDS
        assert to_input_ids(pa.table({"input_ids": column}), PADDED).tolist() == IDS
    with pytest.raises(InvalidInputError, match="row 1: column 0 has nan; allowed: integers"):
        to_input_ids(pa.array([[1], [None, 2]]), PADDED)


def test_columns_and_frames_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(IDS, columns=["a", "b", "c"])
    assert to_input_ids(pd.Series(ROWS, index=[7, 5]), PADDED).tolist() == IDS
    assert to_input_ids(pd.DataFrame({"input_ids": ROWS}), PADDED).tolist() == IDS
    for kind in ("int64", "Int64", "uint8"):
        assert to_input_ids(frame.astype(kind), PADDED).tolist() == IDS
    for missing in (frame.astype("Int64"), frame.astype(float)):
        missing.loc[1, "b"] = None
        with pytest.raises(InvalidInputError, match=r"row 1: column 'b' has (<NA>|nan); allowed"):
            to_input_ids(missing, PADDED)


def test_columns_and_frames_of_polars() -> None:
    pl = pytest.importorskip("polars")
    for column in (pl.Series(ROWS), pl.Series(IDS, dtype=pl.Array(pl.Int64, 3))):
        assert to_input_ids(column, PADDED).tolist() == IDS
        assert to_input_ids(pl.DataFrame({"input_ids": column}), PADDED).tolist() == IDS
    with pytest.raises(InvalidInputError, match="row 1: column 'b' has nan; allowed: integers"):
        to_input_ids(pl.DataFrame({"a": [1, 2], "b": [3, None]}), PADDED)
