"""`compare`: a module as it is now, beside a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pe_deploy import CheckpointError, ExportError, ModelConfig
from pe_deploy.export import Exported, compare, export_module
from pe_deploy.parity import Cell
from pe_deploy.training import GRUClassifier


class Bag(nn.Module):
    """Ids without padding, averaged, to the probability of each class."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8, padding_idx=0)
        self.head = nn.Linear(8, classes)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mean = self.embedding(ids).sum(1) / lengths[:, None]
        return torch.softmax(self.head(mean), 1)


@pytest.fixture(scope="module")
def bag() -> Bag:
    torch.manual_seed(0)
    return Bag()


@pytest.fixture(scope="module")
def made(bag: Bag, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("compared") / "bundle"
    return export_module(bag, place, max_length=5, pad_id=0, outputs="probabilities")


def test_a_live_module_is_called_as_when_it_was_exported(bag: Bag, made: Exported) -> None:
    bag.train()
    report = compare(bag, made.bundle.path)
    assert report.passed
    assert {cell.predictor for cell in report.cells} >= {"eager", "torchscript", "onnx"}
    assert bag.training


def test_a_module_that_was_trained_on_is_told(bag: Bag, made: Exported) -> None:
    other = Bag()
    other.load_state_dict(bag.state_dict())
    with torch.no_grad():
        other.head.bias[0] += 0.01
    report = compare(other, made.bundle)
    failing = {cell.predictor for cell in report.failures if cell.check == "shapes"}
    assert failing >= {"torchscript", "onnx"}
    assert "eager" not in failing
    assert repr(report).startswith("<Report FAILED (")
    html = report._repr_html_()
    assert html.index("the smallest input") < html.index("Errors of a logit")


def test_a_module_of_other_classes_is_refused(made: Exported) -> None:
    with pytest.raises(ExportError, match=r"the module gives 4 classes; .* has 3"):
        compare(Bag(4), made.bundle)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, made: Exported) -> None:
    model = GRUClassifier(ModelConfig(vocab_size=12, max_length=10))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="has Signature"):
        compare(tmp_path / "weights.pt", made.bundle)


class Counting:
    """Keeps what it is told to expect, and how often it is called."""

    def __init__(self) -> None:
        self.expected = self.calls = 0

    def expect(self, more: int) -> None:
        self.expected += more

    def __call__(self, cell: Cell) -> None:
        self.calls += 1


def test_a_bar_knows_its_end(bag: Bag, made: Exported) -> None:
    for checks in (("golden",), ("shapes", "positions"), ("padding", "batches", "tokens")):
        counting = Counting()
        report = compare(bag, made.bundle, checks=checks, progress=counting)
        assert counting.calls == counting.expected == len(report.cells) > 0
