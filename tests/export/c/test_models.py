"""Models as people write them answer in C as their graphs do in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.c.assembled import Plan
from tests.export.c.library import Graph, Library
from tests.needs import need

need("cc")

PLAIN = Plan(
    *(11, 1, 13, None, False, 3, 1, False, "none", 8, False),
    *(("GRU",), (17,), (1,), (False,), True, True, "none", False, False, False),
    *(("state",), -np.inf, "linear", 0),
)
LAYERS = replace(PLAIN, kinds=("LSTM",), hidden=(16,), layers=(2,), both_ways=(True,))

PLANS = {
    "packed": replace(LAYERS, pad_id=0, packed=True, places="embedding"),
    "tagger": replace(LAYERS, tokens=True, pad_id=2, norm_after=True, max_length=70),
    "fixed": replace(PLAIN, min_length=13, places="parameter", layers=(4,), biased=False),
    "tiny": replace(PLAIN, vocab_size=1, max_length=1, hidden=(1,), width=1, kinds=("RNN",)),
    "pooled": replace(
        LAYERS, pad_id=10, kinds=("relu RNN",), poolings=("mean", "max", "last"), fill=-1e9
    ),
    "bag": replace(
        PLAIN, kinds=(), hidden=(), layers=(), both_ways=(), embeddings=2, poolings=("max", "sum"),
        places="sinusoid", head="gate", norm_before=True, scaled=True, outputs=1,
    ),
    "started": replace(PLAIN, hidden=(33,), start="computed", batch_first=False, head="several"),
    "wide": replace(PLAIN, hidden=(100,), residual=True, width=100, norm_after=True, head="relu"),
}  # fmt: skip


class Flattened(nn.Module):
    """Has the tokens of all rows along one axis for its head, then takes the last of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 1)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(ids))
        logits: Tensor = self.head(states.contiguous().view(-1, 8))
        return logits.view(ids.size(0), -1)[:, -1]


class OfBuffers(nn.Module):
    """Looks positions and kinds up by buffers, as encoders do, and counts along each row."""

    position_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(11, 8), nn.Embedding(2, 8)
        self.places = nn.Parameter(torch.randn(1, 13, 8))
        self.register_buffer("position_ids", torch.arange(13)[None])
        self.norm, self.head = nn.LayerNorm(9, eps=1e-12), nn.Linear(9, 3)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.words(ids) + self.kinds(torch.zeros_like(ids))
        x = x + self.places.index_select(1, torch.arange(length))
        share = (torch.arange(length).float() / length)[None, :, None].expand(len(ids), -1, 1)
        logits: Tensor = self.head(self.norm(torch.cat([x, share], 2)).mean(1))
        return logits


MODULES: dict[str, Callable[[], nn.Module]] = {"flattened": Flattened, "of_buffers": OfBuffers}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    graphs = {name: Graph.planned(plan) for name, plan in PLANS.items()}
    torch.manual_seed(0)
    for name, make in MODULES.items():
        graphs[name] = Graph.of(make(), vocab_size=11, max_length=13)
    return Library(tmp_path_factory.mktemp("models"), graphs)


@pytest.mark.parametrize("name", [*PLANS, *MODULES])
def test_it_answers_as_onnxruntime(library: Library, name: str) -> None:
    library.compare(name)
