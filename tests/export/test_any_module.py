from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_deploy import ExportError, OnnxClassifier
from pe_deploy.config import Signature
from pe_deploy.export import ExportOptions, export_module
from pe_deploy.parity import random_ids
from tests.export.people import MODELS, Base, Model

ONNX = ExportOptions(["onnx"], crossover=64)
LONGEST = 11


def trained(model: Model) -> Any:
    """The module with weights that are not those that layers begin with."""
    torch.manual_seed(0)
    module = model.make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape).to(parameter.dtype))
    return module.train()


def batches(signature: Signature) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    rng = np.random.default_rng(7)
    shortest, longest = signature.min_length, signature.max_length
    lengths = sorted({shortest, shortest + 1, (shortest + longest) // 2, longest})
    shapes = [(batch, length) for batch in (1, 2, 7) for length in lengths]
    return [random_ids(signature, *shape, rng) for shape in [*shapes, (130, longest)]]


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_answers_as_the_module_in_eager_torch(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    module = trained(model)
    before = copy.deepcopy(module.state_dict())
    export_module(module, tmp_path / "bundle", ONNX, max_length=LONGEST, **model.stated)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    module.eval()
    with OnnxClassifier(tmp_path / "bundle") as classifier, torch.no_grad():
        for ids in batches(classifier.signature):
            expected = model.ask(module, torch.from_numpy(ids)).float().numpy()
            logits = classifier.predict_logits(ids)
            if classifier.signature.task == "tokens":  # a batch may end with padding alone
                steps = expected.shape[1]
                expected = classifier.signature.zero_padding(expected, ids[:, :steps])
                assert not logits[:, steps:].any()
                logits = logits[:, :steps]
            expected = expected.reshape(logits.shape)
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_both_formats_of_a_module_with_a_mask(tmp_path: Path) -> None:
    model = MODELS["attention, mask of truths"]
    made = export_module(trained(model), tmp_path / "bundle", max_length=LONGEST, pad_id=0)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_bytes())
    assert manifest["origin"]["computed_inputs"] == ["mask: 1 where an id is not padding"]
    assert {"model.onnx", "model.pt"} <= made.bundle.manifest.files.keys()
    assert any("mask" in note for note in made.notes)


class Ends(Base):
    def __init__(self, end: Any, out: int) -> None:
        super().__init__(out=out)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.end(self.head(torch.tanh(self.embedding(x)).mean(1)))
        return found


ENDS = [
    (nn.Sigmoid(), 1, "classes"),
    (nn.Sigmoid(), 4, "multilabel"),
    (nn.Softmax(dim=1), 3, "classes"),
    (nn.LogSoftmax(dim=-1), 3, "classes"),
]


@pytest.mark.parametrize(("end", "out", "task"), ENDS)
def test_probabilities_are_refused_or_taken_off(
    end: Any, out: int, task: Any, tmp_path: Path
) -> None:
    module = Ends(end, out).eval()
    place = tmp_path / "bundle"
    with pytest.raises(ExportError, match=r"ends in \w+: it gives prob.* --outputs probabilities"):
        export_module(module, place, ONNX, max_length=8, task=task)
    assert not place.exists()
    export_module(module, place, ONNX, max_length=8, task=task, outputs="probabilities")
    ids = torch.randint(0, 23, (9, 5))
    own = module(ids).detach().double().numpy()
    own = np.exp(own) if isinstance(end, nn.LogSoftmax) else own
    with OnnxClassifier(place) as classifier:
        found = classifier.predict_proba(ids.numpy())
        np.testing.assert_allclose(found[:, -own.shape[1] :], own, atol=1e-6)
        assert np.abs(classifier.predict_logits(ids.numpy())).max() > 0


class Net(Base):
    """Goes wrong in a way of its own."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong
        self.gru = nn.GRU(12, 12, batch_first=True)
        self.cell = nn.GRUCell(12, 12)

    def forward(self, x: Tensor, features: Tensor | None = None) -> Any:
        states, last = self.gru(self.embedding(x))
        logits = self.head(last[-1])
        if self.wrong == "text":
            return "logits"
        if self.wrong == "labels":
            return logits.argmax(1)
        if self.wrong == "first":
            return self.head(states.transpose(0, 1))[-1:].expand(4, -1, -1)
        if self.wrong == "random":
            return logits + torch.rand(())
        if self.wrong == "neighbours":
            return logits - logits.mean(0)
        if self.wrong == "nan":
            return logits / 0.0 * 0.0
        if self.wrong == "tokens":
            return self.head(states)
        if self.wrong == "values" and (x == 3).any(1).all():
            return logits * 1.0
        if self.wrong == "empty" and x.size(1) > 1:
            return self.head(self.gru(self.embedding(x)[:, 1:])[1][-1])
        if self.wrong == "cell":
            cell, state = self.cell, last[-1]
            for step in range(x.size(1)):
                state = cell(states[:, step], torch.tanh(state))
            return self.head(state)
        if self.wrong == "loop":
            for step in range(x.size(1)):
                logits = logits + torch.sin(logits + states[:, step, :3])
        return logits


class NeedsMore(Net):
    def forward(self, x: Tensor, features: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x) + features


REFUSED = [
    ("text", {}, "no tensor of logits"),
    ("labels", {}, "int64 .* before any argmax"),
    ("first", {}, "the batch as first dimension|allowed for task"),
    ("random", {}, "two calls with the same ids differ"),
    ("neighbours", {}, "depends on its neighbours"),
    ("nan", {}, "NaN or infinity"),
    ("tokens", {}, "--task tokens"),
    ("values", {}, r"test_any_module.py:\d+: if self.wrong == .values."),
    ("loop", {}, r"test_any_module.py:\d+: for step in range"),
    ("empty", {}, "GRU_0 reads no step of rows of 1 ids, .* --min-length 2"),
    ("cell", {}, r"changes the state between two steps \(at test_any_module.py:\d+: for step"),
    ("", {"pad_id": 0}, "padding changes the answer"),
    ("", {"vocab_size": 99}, r"embedding.weight \(23 rows\); allowed: 1 to 23"),
    ("", {"max_length": None}, "state --max-length"),
    ("", {"task": "tokens"}, "allowed for task tokens"),
    ("", {"outputs": "probabilities"}, "does not end in sigmoid or softmax"),
]


@pytest.mark.parametrize(("wrong", "stated", "line"), REFUSED)
def test_what_no_bundle_can_hold_to_is_one_line(
    wrong: str, stated: dict[str, Any], line: str, tmp_path: Path
) -> None:
    settings = {"max_length": 8, **stated}
    with pytest.raises(ExportError, match=line) as error:
        export_module(Net(wrong), tmp_path / "bundle", ONNX, **settings)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_input_that_is_not_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="needs 'features' beside the ids"):
        export_module(NeedsMore(""), tmp_path / "bundle", ONNX, max_length=8)
