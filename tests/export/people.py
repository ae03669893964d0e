"""Modules as people write them: at least two of each kind, none of which the code was written for.

Each is a class without arguments. `MODELS` says by name what its user states, and how it is asked
for its answer by eager torch, where that is not `module(ids)`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pe_deploy.runtime.torchscript import jit_deprecation_ignored

VOCABULARY, CLASSES, WIDTH = 23, 3, 12


class Base(nn.Module):
    def __init__(self, out: int = CLASSES, width: int = WIDTH) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.head = nn.Linear(width, out)


class FourLayersTimeFirst(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, 4, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.gru(self.embedding(x.t()))[1][-1])


class LearnedStart(Base):
    def __init__(self) -> None:
        super().__init__(width=2 * WIDTH)
        self.gru = nn.GRU(WIDTH, WIDTH, bidirectional=True, batch_first=True)
        self.start = nn.Parameter(torch.randn(2, 1, WIDTH))

    def forward(self, x: Tensor) -> Any:
        start = self.start.expand(-1, x.size(0), -1).contiguous()
        states, _ = self.gru(self.embedding(x), start)
        return self.head(states.mean(1))


class ComputedStart(Base):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)
        self.bridge = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x)
        first = torch.tanh(self.bridge(embedded.mean(1))).unsqueeze(0).repeat(2, 1, 1)
        states, _ = self.lstm(embedded, (first, torch.zeros_like(first)))
        return self.head(states[:, -1])


class ProjectedLSTM(Base):
    def __init__(self) -> None:
        super().__init__(width=10)
        self.lstm = nn.LSTM(WIDTH, WIDTH, 2, proj_size=5, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        start = x.new_zeros(4, len(x), 5, dtype=torch.float32)
        cell = x.new_zeros(4, x.shape[0], WIDTH, dtype=torch.float32)
        return self.head(self.lstm(self.embedding(x), (start + 0.1, cell))[0].amax(1))


class ReluRNN(Base):
    def __init__(self) -> None:
        super().__init__(width=2 * WIDTH)
        self.rnn = nn.RNN(
            WIDTH, WIDTH, 2, nonlinearity="relu", bidirectional=True, batch_first=True
        )

    def forward(self, x: Tensor) -> Any:
        _, h = self.rnn(self.embedding(x))
        return self.head(h.view(2, 2, x.size(0), WIDTH)[-1].transpose(0, 1).flatten(1))


class OwnGRU(nn.GRU):
    """A subclass with a forward of its own."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002
        states, last = super().forward(input * 2, hx)
        return states + input, last


class Subclassed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = OwnGRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.gru(self.embedding(x))[0].sum(1))


class PackedCell(Base):
    """Takes the cell state of packed rows, of lengths that it is given as a list."""

    def __init__(self) -> None:
        super().__init__(width=2 * WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor, seq_len: Tensor) -> Any:
        packed = pack_padded_sequence(
            self.embedding(x), seq_len.tolist(), batch_first=True, enforce_sorted=False
        )
        _, (h, c) = self.lstm(packed)
        return self.head(torch.cat([h[-1], c[-1]], 1))


class PackedOutputs(Base):
    """Drops out between the packing and the layer, and pools what it unpacks."""

    def __init__(self) -> None:
        super().__init__(width=2 * WIDTH)
        self.rnn = nn.GRU(WIDTH, WIDTH, bidirectional=True)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        lengths = (x != 0).sum(1)
        packed = pack_padded_sequence(
            self.embedding(x).transpose(0, 1), lengths.cpu(), False, False
        )
        packed = PackedSequence(
            self.drop(packed.data),
            packed.batch_sizes,
            packed.sorted_indices,
            packed.unsorted_indices,
        )
        states, lengths = pad_packed_sequence(self.rnn(packed)[0], padding_value=-1e9)
        return self.head(states.max(0).values)


class ByTheLastToken(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        states, _ = self.gru(self.embedding(x))
        last = x.ne(0).sum(1).sub(1).view(-1, 1, 1).expand(-1, 1, WIDTH)
        return self.head(states.gather(1, last).squeeze(1))


class CellLoop(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        rows, length = x.shape
        embedded = self.embedding(x)
        state = embedded.new_zeros(rows, WIDTH)
        for step in range(length):
            state = self.cell(embedded[:, step], state)
        return self.head(state)


class StackedCells(Base):
    """Two cells a step, whose states of all steps are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.LSTMCell(WIDTH, WIDTH)
        self.upper = nn.RNNCell(WIDTH, WIDTH, nonlinearity="relu")

    def forward(self, x: Tensor) -> Any:
        steps = self.embedding(x).transpose(0, 1)
        hidden, cell = torch.zeros(len(x), WIDTH), torch.zeros(len(x), WIDTH)
        upper, outputs = None, []
        for step in range(steps.size(0)):
            hidden, cell = self.lower(steps[step], (hidden, cell))
            upper = self.upper(hidden, upper)
            outputs.append(upper)
        return self.head(torch.stack(outputs, dim=1).mean(1))


class MaskedAttention(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.score = nn.Linear(WIDTH, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        states, _ = self.gru(self.embedding(x))
        scores = self.score(torch.tanh(states)).squeeze(-1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4)
        return self.head(torch.einsum("bt,btd->bd", scores.softmax(-1), states))


class CountedPositions(Base):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(11, WIDTH)

    def forward(self, x: Tensor) -> Any:
        places = torch.ones_like(x).cumsum(1) - 1
        return self.head(torch.relu(self.embedding(x) + self.places(places)).mean(1))


class SinusoidComputed(Base):
    def forward(self, x: Tensor) -> Any:
        steps = torch.arange(x.size(1), device=x.device).float().unsqueeze(1)
        rates = torch.exp(torch.arange(0, WIDTH, 2).float() * (-math.log(1e4) / WIDTH))
        table = torch.cat([torch.sin(steps * rates), torch.cos(steps * rates)], 1)
        return self.head((self.embedding(x) * table).sum(1))


class SelectedPositions(Base):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 11, WIDTH))
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        places = torch.arange(x.shape[1])
        placed = self.embedding(x) + self.table.index_select(1, places)
        return self.head(self.gru(placed)[1].squeeze(0))


class WithClassToken(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 3, 20, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Any:
        padding = functional.pad(x == 0, (1, 0), value=False)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.embedding(x)], 1)
        return self.head(self.encoder(tokens, src_key_padding_mask=padding)[:, 0])


class CausalEncoder(Base):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x: Tensor) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        return self.head(self.encoder(self.embedding(x), mask=mask)[:, -1])


class Convolved2d(Base):
    def __init__(self) -> None:
        super().__init__(width=8)
        self.conv = nn.Conv2d(1, 8, (4, WIDTH))

    def forward(self, x: Tensor) -> Any:
        found = functional.relu(self.conv(self.embedding(x).unsqueeze(1))).squeeze(3)
        return self.head(functional.max_pool1d(found, int(found.size(2))).squeeze(2))


class CausalTCN(Base):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # people still use it
            self.convs = nn.ModuleList(
                torch.nn.utils.weight_norm(nn.Conv1d(WIDTH, WIDTH, 3, padding=2 * d, dilation=d))
                for d in (1, 2)
            )

    def forward(self, x: Tensor) -> Any:
        y = self.embedding(x).transpose(1, 2)
        for conv in self.convs:
            y = y + functional.relu(conv(y)[:, :, : y.size(2)])
        return self.head(y[:, :, -1])


class PooledConv(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2))
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(self.embedding(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.lstm(y)[1][0].squeeze(0))


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, WIDTH, mode="mean", padding_idx=0)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, text: Tensor, offsets: Tensor | None = None) -> Any:
        return self.head(self.bag(text, offsets))


class MaxBag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, CLASSES, mode="max", max_norm=1.5)

    def forward(self, text: Tensor) -> Any:
        return self.bag(text)


@dataclass
class Answer:
    logits: Tensor
    states: Tensor


class Dataclassed(Base):
    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Any:
        states = self.embedding(input_ids)
        return Answer(self.head(states.mean(1)), states)


class Tupled(Base):
    def forward(self, x: Tensor, position_ids: Tensor) -> Any:
        states = self.embedding(x) * (1 + position_ids.unsqueeze(-1)).sqrt()
        return None, self.head(states.mean(1)), states


class Squeezed(Base):
    def __init__(self) -> None:
        super().__init__(out=1)

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.tanh(self.embedding(x)).mean(1)).squeeze()


class Regression(Base):
    def __init__(self) -> None:
        super().__init__(out=2)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return torch.sigmoid(self.head(self.lstm(self.embedding(x))[0][:, -1]))


class ConvTagger(Base):
    """Gives its classes before its steps, as the loss wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x).masked_fill((x == 0).unsqueeze(-1), 0.0)
        return self.conv(embedded.transpose(1, 2))


class ShortTagger(Base):
    """Gives as many steps as the longest row has."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        packed = pack_padded_sequence(self.embedding(x), (x != 0).sum(1), True, False)
        return self.head(pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0])


class Multilabel(Base):
    def __init__(self) -> None:
        super().__init__(out=5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.embedding(x).amax(1))


class SpectralTied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.mix = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH))
        self.out = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Any:
        return self.out(torch.relu(self.mix(self.embedding(x))).mean(1))[:, :CLASSES]


class LastTokenByRemainder(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, input_ids: Tensor) -> Any:
        logits = self.head(self.gru(self.embedding(input_ids))[0])
        ends = torch.eq(input_ids, 0).int().argmax(-1) - 1
        ends = ends % input_ids.shape[-1]
        return logits[torch.arange(input_ids.shape[0]), ends]


class Wrapped:
    """DataParallel round a half module, as a trainer leaves it."""

    def __new__(cls) -> Any:
        return nn.DataParallel(CountedPositions().half())


class Scripted:
    def __new__(cls) -> Any:
        with jit_deprecation_ignored():
            return torch.jit.script(SelectedPositions())


def with_lengths(module: Any, ids: Tensor) -> Tensor:
    found: Tensor = module(ids, (ids != 0).sum(1))
    return found


def with_mask(module: Any, ids: Tensor) -> Tensor:
    found: Tensor = module(ids, ids != 0)
    return found


class Model(NamedTuple):
    make: Callable[[], Any]
    stated: Mapping[str, Any] = MappingProxyType({})
    ask: Callable[[Any, Tensor], Any] = lambda module, ids: module(ids)


_PAD = {"pad_id": 0}
MODELS: dict[str, Model] = {
    "4 layers, time first, no bias": Model(FourLayersTimeFirst),
    "learned start": Model(LearnedStart),
    "computed start": Model(ComputedStart),
    "projected": Model(ProjectedLSTM),
    "relu, both directions": Model(ReluRNN),
    "subclass of GRU": Model(Subclassed),
    "packed, cell state, lengths as a list": Model(PackedCell, _PAD, with_lengths),
    "packed and unpacked": Model(PackedOutputs, _PAD),
    "last token by gather": Model(ByTheLastToken, _PAD),
    "last token by remainder": Model(LastTokenByRemainder, _PAD),
    "loop of a cell": Model(CellLoop),
    "loop of two cells": Model(StackedCells),
    "attention, mask of truths": Model(MaskedAttention, _PAD, with_mask),
    "attention without a pad id": Model(MaskedAttention),
    "positions by cumsum": Model(CountedPositions),
    "positions by index_select": Model(SelectedPositions),
    "sinusoid computed": Model(SinusoidComputed),
    "class token": Model(WithClassToken, _PAD),
    "causal mask": Model(CausalEncoder),
    "convolution over two axes": Model(Convolved2d),
    "temporal convolutions": Model(CausalTCN),
    "convolution, then recurrent": Model(PooledConv),
    "bag": Model(Bag, _PAD),
    "bag of maxima": Model(MaxBag),
    "dataclass": Model(Dataclassed, {}, lambda module, ids: module(ids).logits),
    "tuple, positions given": Model(
        Tupled, {}, lambda module, ids: module(ids, torch.arange(ids.shape[1]).expand_as(ids))[1]
    ),
    "squeezed": Model(Squeezed, {}, lambda module, ids: module(ids).reshape(-1)),
    "regression": Model(Regression, {"task": "regression"}),
    "multilabel": Model(Multilabel, {"task": "multilabel"}),
    "tagger, classes first": Model(
        ConvTagger, {**_PAD, "task": "tokens"}, lambda module, ids: module(ids).transpose(1, 2)
    ),
    "tagger of packed rows": Model(ShortTagger, {**_PAD, "task": "tokens"}),
    "spectral norm, tied weights": Model(SpectralTied),
    "half, in DataParallel": Model(Wrapped, {}, lambda module, ids: module.module.float()(ids)),
    "scripted": Model(Scripted),
}
