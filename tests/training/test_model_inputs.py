"""The model: what it computes, and what an `EagerClassifier` before it refuses."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from pe_deploy.errors import InvalidInputError
from pe_deploy.model_config import ModelConfig
from pe_deploy.training import Checkpoint, EagerClassifier, GRUClassifier


def _model(pad_id: int | None = None, num_classes: int = 1) -> GRUClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ModelConfig(12, 10, num_classes=num_classes, pad_id=pad_id)
        return GRUClassifier(config).eval()


def _classifier(pad_id: int | None = None) -> EagerClassifier:
    model = _model(pad_id)
    return EagerClassifier(Checkpoint(model, model.config, (0, 1), 0.5))


def _scripted(model: GRUClassifier) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen: torch.nn.Module = torch.jit.freeze(torch.jit.script(model))
    return frozen


def _ids(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize(("num_classes", "shape"), [(1, (3,)), (2, (3, 2)), (5, (3, 5))])
@pytest.mark.parametrize("pad_id", [None, 0])
def test_logits_shape(pad_id: int | None, num_classes: int, shape: tuple[int, ...]) -> None:
    logits = _model(pad_id, num_classes)(torch.ones(3, 4, dtype=torch.int64))
    assert logits.shape == shape
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_padding_never_changes_a_rows_logits(scripted: bool, num_classes: int) -> None:
    eager = _model(0, num_classes)
    model = _scripted(eager) if scripted else eager
    row = [3, 1, 4]
    with torch.no_grad():
        alone = model(_ids(row))[0]
        among_longer = model(_ids([5] * 7, row + [0] * 4, [2] * 7))[1]
        padded_to_the_end = model(_ids(row + [0] * 7))[0]
        unpadded_model = _model(None, num_classes)(_ids(row))[0]
    for other in (among_longer, padded_to_the_end, unpadded_model):
        torch.testing.assert_close(alone, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pad_id", [None, 0])
@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (7, 3)])
def test_scripted_equals_eager(
    pad_id: int | None, num_classes: int, shape: tuple[int, int]
) -> None:
    model = _model(pad_id, num_classes)
    ids = torch.randint(1, 12, shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(_scripted(model)(ids), model(ids), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The tensor attributes self.rnn_lay")  # torch's own, of a GRU
@pytest.mark.parametrize("pad_id", [None, 0])
def test_torch_export_takes_it_as_it_is(pad_id: int | None) -> None:
    model = _model(pad_id)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        model, (torch.ones(3, 5, dtype=torch.int64),), dynamic_shapes=({0: batch},)
    )
    ids = _ids([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [1] * 5, [2] * 5)
    torch.testing.assert_close(program.module()(ids), model(ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint64])
def test_every_integer_dtype_will_do(dtype: torch.dtype) -> None:
    classifier, ids = _classifier(), _ids([1, 11, 0])
    given = classifier.predict_logits(ids.to(dtype))
    assert given.tolist() == classifier.predict_logits(ids).tolist()


def test_dropout_acts_between_layers_in_training_only() -> None:
    config = ModelConfig(12, 10, dropout=0.5)
    model, ids = GRUClassifier(config), _ids([1, 2, 3])
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
    GRUClassifier(ModelConfig(12, 10, num_layers=1, dropout=0.5))  # no warning


def test_no_rows_have_no_logits() -> None:
    assert _classifier().predict_logits(torch.ones(0, 5, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([1, 2]), "input_ids has 1 dimensions; allowed: 2, [batch, sequence]"),
        (torch.ones(2, 3), "input_ids has dtype float32; allowed: an integer dtype"),
        (
            torch.ones(2, 3, dtype=torch.bfloat16),
            "input_ids has dtype bfloat16; allowed: an integer dtype",
        ),
        (torch.tensor([[True]]), "input_ids has dtype bool; allowed: an integer dtype"),
        (torch.ones(2, 0, dtype=torch.int64), "input_ids has 0 columns; allowed: 1 to 10"),
        (torch.ones(2, 11, dtype=torch.int64), "input_ids has 11 columns; allowed: 1 to 10"),
        (_ids([1, 2], [3, 12]), "row 1: column 1 has id 12; allowed: 0 to 11"),
        (_ids([-1, 2], [3, 12]), "row 0: column 0 has id -1; allowed: 0 to 11"),
        (
            torch.tensor([[2**63]], dtype=torch.uint64),
            "row 0: column 0 has id 9223372036854775808; allowed: 0 to 11",
        ),
    ],
)
@pytest.mark.parametrize("pad_id", [None, 0])
def test_refused_input(pad_id: int | None, ids: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _classifier(pad_id).predict_logits(ids)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("ids", "row", "column"),
    [(_ids([1, 2, 0], [1, 0, 2]), 1, 1), (_ids([0, 2, 0]), 0, 0), (_ids([1, 2], [0, 0]), 1, None)],
)
def test_refused_padding(ids: Tensor, row: int, column: int | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _classifier(pad_id=0).predict_logits(ids)
    assert (caught.value.row, caught.value.reason) == (
        row,
        "every id is pad_id 0; allowed: at least one token"
        if column is None
        else f"column {column} has pad_id 0 before the row's last token; "
        "allowed: padding on the right only",
    )
    _classifier(pad_id=None).predict_logits(ids)  # then 0 is a token like any other
