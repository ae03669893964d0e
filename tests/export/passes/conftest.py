"""Models to rewrite, and what holds for every form of each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pe_deploy import Signature
from pe_deploy.export import onnx_model
from pe_deploy.export.judges import judges
from pe_deploy.parity import Tolerance

Ids = NDArray[np.int64]
Capture = Callable[[nn.Module, Signature], onnx.ModelProto]
Hold = Callable[[onnx.ModelProto, nn.Module, Signature], None]


class Notebook(nn.Module):
    """What users write: positions looked up, zeros to start from, and several ways to end."""

    def __init__(self, end: str, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.end = end
        self.tokens = nn.Embedding(12, 6)
        self.places = nn.Embedding(9, 6)
        self.gru = nn.GRU(6, 7, layers, batch_first=True)
        self.head = nn.Linear(7, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        batch, length = input_ids.shape
        places = torch.arange(0, length)
        if self.end != "rows shared":
            places = places.unsqueeze(0).repeat(batch, 1)
        embedded = self.tokens(input_ids) + self.places(places)
        zeros = torch.zeros(self.gru.num_layers, batch, 7, dtype=embedded.dtype)
        outputs, states = self.gru(embedded, zeros)
        if self.end == "last output":
            summary = outputs[:, -1]
        elif self.end == "mean":
            summary = outputs.mean(1) + states[0]
        else:
            summary = states[-1]
        logits: Tensor = self.head(summary).squeeze(1)
        return logits


def ids_of(signature: Signature, batch: int, length: int) -> Ids:
    """Random ids, each row padded from another length on where there is padding."""
    numbers = np.random.default_rng(batch * 100 + length)
    ids = numbers.integers(0, signature.vocab_size, (batch, length))
    if signature.pad_id is not None:
        ids[ids == signature.pad_id] = (signature.pad_id + 1) % signature.vocab_size
        ends = numbers.integers(1, length + 1, (batch, 1))
        ids[np.arange(length) >= ends] = signature.pad_id
    return ids


@pytest.fixture(scope="session")
def notebook() -> type[Notebook]:
    return Notebook


@pytest.fixture(scope="session")
def captured() -> Capture:
    """The graph of a module as it is before any pass."""

    @cache
    def capture(module: nn.Module, signature: Signature) -> onnx.ModelProto:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_model, "lean", lambda model: model)
            return onnx_model.to_onnx(module.eval(), signature)

    return capture


@pytest.fixture(scope="session")
def holds() -> Hold:
    """A graph is sound, and as close to float64 torch as float32 torch is."""

    def check(model: onnx.ModelProto, module: nn.Module, signature: Signature) -> None:
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
        session = ort.InferenceSession(data)
        exact = copy.deepcopy(module).double()
        longest = signature.max_length
        for length in sorted({1, min(2, longest), min(3, longest), longest}):
            for batch in (1, 5):
                ids = ids_of(signature, batch, length)
                with torch.no_grad():
                    reference = exact(torch.from_numpy(ids)).numpy()
                    single = module(torch.from_numpy(ids)).numpy()
                allowed = Tolerance().from_floor(float(np.abs(single - reference).max()))
                answers = {"onnxruntime": session.run(None, {"input_ids": ids})[0]}
                if batch == 5:
                    answers |= {name: judge(ids) for name, judge in judges(data).items()}
                for name, answer in answers.items():
                    assert answer.shape == reference.shape, (name, ids.shape)
                    assert np.abs(answer - reference).max() <= allowed, (name, ids.shape)

    return check
