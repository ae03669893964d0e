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
from torch.nn.utils.rnn import pack_padded_sequence

from pe_deploy import ModelConfig, Signature
from pe_deploy.export import onnx as export_onnx
from pe_deploy.export.guards import unguarded
from pe_deploy.parity import Tolerance
from pe_deploy.training import GRUClassifier
from tests.export.independent import reference_runtimes

Ids = NDArray[np.int64]
Make = Callable[[str, ModelConfig | None], tuple[nn.Module, Signature, onnx.ModelProto]]
Hold = Callable[[onnx.ModelProto, nn.Module, Signature], None]


class Notebook(nn.Module):
    """What users write: positions looked up, zeros to start from, and several ways to end."""

    def __init__(self, end: str, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.end = end
        self.tokens = nn.Embedding(12, 6)
        self.places = nn.Embedding(9, 6)
        self.gru = nn.GRU(6, 6, layers, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        batch, length = input_ids.shape
        places = torch.arange(0, length)
        if self.end != "rows shared":
            places = places.unsqueeze(0).repeat(batch, 1)
        embedded = self.tokens(input_ids) + self.places(places)
        zeros = torch.zeros(self.gru.num_layers, batch, 6, dtype=embedded.dtype)
        outputs, states = self.gru(embedded, zeros)
        if self.end == "last output":
            summary = outputs[:, -1]
        elif self.end == "mean":
            summary = outputs.mean(1) + states[0]
        else:
            summary = states[-1]
        logits: Tensor = self.head(summary).squeeze(1)
        return logits


class Awkward(nn.Module):
    """What looks like a pattern and is none."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.kind = kind
        self.tokens = nn.Embedding(12, 10)
        self.places = nn.Embedding(9, 10)
        self.gru = nn.GRU(10, 5, 2, batch_first=True, bidirectional=kind == "bidirectional")
        self.head = nn.Linear(10 if kind == "bidirectional" else 5, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        batch, length = input_ids.shape
        embedded = self.tokens(input_ids)
        start = torch.zeros(2, batch, 5, dtype=embedded.dtype)
        if self.kind == "places from one":
            embedded = embedded + self.places(torch.arange(1, length + 1))
        if self.kind == "places by row":
            embedded = embedded + self.places(input_ids.sum(1, keepdim=True) % 9)
        if self.kind == "start of ones":
            start = start + 1
        if self.kind == "bidirectional":
            outputs, states = self.gru(embedded)
            logits: Tensor = self.head(outputs[:, 0] + torch.cat([states[-2], states[-1]], 1))
            return logits.squeeze(1)
        outputs, states = self.gru(embedded, start)
        if self.kind == "end not clamped":
            # A row of padding alone takes the last step, under -1.
            ends = (input_ids != 3).sum(1) - 1
            logits = self.head(outputs[torch.arange(batch), ends])
            return logits.squeeze(1)
        if self.kind == "embeddings again":
            outputs = outputs + embedded[:, :, :5]
        rows = torch.arange(batch)
        ends = (input_ids > 3).sum(1) - 1
        logits = self.head(states[0] + outputs[:, 0] + outputs[rows, ends])
        return logits.squeeze(1)


class Other(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.kind = kind
        self.tokens = nn.Embedding(12, 6)
        self.start = nn.Parameter(torch.randn(2, 1, 5))
        self.gru = nn.GRU(
            6, 5, 2, bias=kind != "two stacks", bidirectional=kind == "bidirectional below"
        )
        self.second = nn.GRU(10 if kind == "bidirectional below" else 5, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.tokens(input_ids).transpose(0, 1)
        start = None
        if self.kind == "start given":
            start = self.start.expand(-1, input_ids.shape[0], -1).contiguous()
        outputs, _ = self.gru(embedded, start)
        if self.kind == "two stacks":
            outputs = torch.relu(outputs)
        _, states = self.second(outputs)
        logits: Tensor = self.head(states[-1]).squeeze(1)
        return logits


class Backwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(12, 6)
        self.gru = nn.GRU(6, 5, bidirectional=True)
        self.head = nn.Linear(5, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        _, states = self.gru(self.tokens(input_ids).transpose(0, 1))
        logits: Tensor = self.head(states[-1]).squeeze(1)
        return logits


class Recurrent(nn.Module):
    """A recurrent layer as users end it; ids from 0 to 11, of which 3 may be padding."""

    def __init__(self, kind: str, both_ways: bool, end: str, layers: int) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.end = end
        self.tokens = nn.Embedding(12, 6)
        self.places = nn.Embedding(9, 6)
        kind, _, activation = kind.partition(" ")
        self.layers = getattr(nn, kind)(
            6,
            5,
            layers,
            batch_first=True,
            bidirectional=both_ways,
            **({"nonlinearity": activation} if activation else {}),
        )
        self.head = nn.Linear(10 if both_ways else 5, 3)

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.tokens(input_ids) + self.places(torch.arange(input_ids.size(1)))
        if self.end == "packed":
            lengths = input_ids.ne(3).sum(1)
            packed = pack_padded_sequence(embedded, lengths, True, enforce_sorted=False)
            outputs, states = self.layers(packed)
        else:
            outputs, states = self.layers(embedded)
        state, cell = states if isinstance(states, tuple) else (states, states)
        ways = 2 if self.layers.bidirectional else 1
        if self.end == "mean":
            summary = outputs.mean(1)
        elif self.end == "last output":
            summary = outputs[:, -1]
        elif self.end == "row's end":
            ends = (input_ids.ne(3).sum(1) - 1).clamp(min=0)
            summary = outputs[torch.arange(input_ids.size(0)), ends]
        elif self.end == "cells":
            summary = torch.cat([*cell[:ways]], 1) + torch.cat([*state[-ways:]], 1)
        else:
            summary = torch.cat([*state[-ways:]], 1)
        logits: Tensor = self.head(summary)
        return logits


def _attributes(model: onnx.ModelProto) -> list[onnx.AttributeProto]:
    return [attribute for node in model.graph.node for attribute in node.attribute]


def ids_of(signature: Signature, batch: int, length: int) -> Ids:
    """Random ids, each row padded from another length on where there is padding."""
    numbers = np.random.default_rng(batch * 100 + length)
    ids = numbers.integers(0, signature.vocab_size, (batch, length))
    if signature.pad_id is not None:
        ids[ids == signature.pad_id] = (signature.pad_id + 1) % signature.vocab_size
        ends = numbers.integers(1, length + 1, (batch, 1))
        ids[np.arange(length) >= ends] = signature.pad_id
    return ids


NOTEBOOKS = ("last state", "last output", "rows shared", "mean")
OTHERS = ("start given", "two stacks", "bidirectional below")


KINDS = ("GRU", "LSTM", "RNN")


def module_of(name: str) -> nn.Module:
    if name in NOTEBOOKS:
        return Notebook(name)
    if name in OTHERS:
        return Other(name)
    if name.startswith(KINDS):
        kind, ways, end, layers = name.split("/")
        return Recurrent(kind, ways == "both ways", end, int(layers))
    return Backwards() if name == "backwards" else Awkward(name)


@cache
def captured(name: str, config: ModelConfig | None) -> tuple[nn.Module, Signature, onnx.ModelProto]:
    torch.manual_seed(0)
    module = GRUClassifier(config) if config else module_of(name)
    classes = 3 if name.startswith(KINDS) else 1
    pad_id = 3 if "row's end" in name or "packed" in name else None
    signature = config.signature if config else Signature(12, 8, classes, pad_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_onnx, "simplify", lambda model: model)
        model = export_onnx.to_onnx(module.eval(), signature)
    return module, signature, unguarded(model, signature)


@pytest.fixture(scope="session")
def made() -> Make:
    """A model, what it takes, and its graph as it is before any pass; captured once for all."""
    return captured


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
                    engines = reference_runtimes(data)
                    if any(a.name == "scan_input_directions" for a in _attributes(model)):
                        engines.pop("onnx-ref", None)  # it reads no Scan from its end, and says so
                    answers |= {name: answer(ids) for name, answer in engines.items()}
                for name, answer in answers.items():
                    assert answer.shape == reference.shape, (name, ids.shape)
                    assert np.abs(answer - reference).max() <= allowed, (name, ids.shape)

    return check
