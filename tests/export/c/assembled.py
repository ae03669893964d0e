"""Models put together at random from the parts that people's models have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pe_deploy.config import Signature

WIDTHS = (1, 2, 3, 8, 15, 16, 17, 31, 33, 40)
PLACES = ("none", "embedding", "parameter", "sinusoid", "reversed")
KINDS = ("GRU", "LSTM", "RNN", "relu RNN")
STARTS = ("none", "learned", "computed")
POOLINGS = ("last", "first", "mean", "max", "sum", "state", "min")
HEADS = ("linear", "relu", "leaky", "tanh", "gate", "several")
FILLS = (-np.inf, -1e9, float(np.finfo(np.float32).min))


@dataclass(frozen=True)
class Plan:
    """What a model is put together from."""

    vocab_size: int
    min_length: int
    max_length: int
    pad_id: int | None
    tokens: bool
    outputs: int
    embeddings: int
    scaled: bool
    places: str
    width: int
    norm_before: bool
    kinds: tuple[str, ...]
    hidden: tuple[int, ...]
    layers: tuple[int, ...]
    both_ways: tuple[bool, ...]
    biased: bool
    batch_first: bool
    start: str
    packed: bool
    residual: bool
    norm_after: bool
    poolings: tuple[str, ...]
    fill: float
    head: str
    seed: int

    @property
    def signature(self) -> Signature:
        return Signature(
            self.vocab_size,
            self.max_length,
            self.outputs,
            self.pad_id,
            self.min_length,
            "tokens" if self.tokens else "classes",
        )

    @classmethod
    def drawn(cls, seed: int) -> Plan:
        """One of all the plans there are."""
        rng = np.random.default_rng(seed)

        def one(choices: Any) -> Any:
            return choices[rng.integers(len(choices))]

        def chance(share: float) -> bool:
            return bool(rng.random() < share)

        max_length = one((1, 2, 3, 5, 8, 13, 24, 70))
        min_length = one((1, 1, 1, max_length, (max_length + 1) // 2))
        vocab_size = one((1, 2, 3, 11, 23))
        pad_id = one((0, vocab_size - 1, vocab_size // 2)) if chance(0.5) else None
        vocab_size = max(2, vocab_size) if pad_id is not None else vocab_size
        count = one((0, 1, 1, 1, 1, 2, 2, 3))
        return cls(
            vocab_size,
            min_length,
            max_length,
            pad_id,
            chance(0.2),
            one((1, 2, 3, 17)),
            one((1, 1, 2)),
            chance(0.2),
            one(PLACES),
            one(WIDTHS),
            chance(0.2),
            tuple(one(KINDS) for _ in range(count)),
            tuple(one(WIDTHS) for _ in range(count)),
            tuple(one((1, 1, 2, 3)) for _ in range(count)),
            tuple(chance(0.4) for _ in range(count)),
            chance(0.8),
            chance(0.7),
            one(STARTS) if chance(0.3) else "none",
            pad_id is not None and chance(0.3),
            chance(0.2),
            chance(0.2),
            tuple(dict.fromkeys(one(POOLINGS) for _ in range(one((1, 1, 1, 2, 3))))),
            one(FILLS),
            one(HEADS),
            seed,
        )

    def text(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in asdict(self).items())


class Assembled(nn.Module):
    """A plan as a module: ids `[batch, length]` to logits."""

    def __init__(self, plan: Plan, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(plan.seed)
        self.plan = plan
        width = plan.width
        self.tables = nn.ModuleList(
            nn.Embedding(plan.vocab_size, width) for _ in range(plan.embeddings)
        )
        if plan.places in ("embedding", "reversed"):
            self.places = nn.Embedding(plan.max_length, width)
        elif plan.places == "parameter":
            self.table = nn.Parameter(torch.randn(1, plan.max_length, width))
        elif plan.places == "sinusoid":
            steps = torch.arange(plan.max_length)[:, None] / 10.0 ** torch.arange(width)
            self.register_buffer("table", torch.sin(steps)[None])
        self.before = nn.LayerNorm(width) if plan.norm_before else nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.stacks = nn.ModuleList()
        self.starts = nn.ParameterList()
        for kind, hidden, layers, both in zip(
            plan.kinds, plan.hidden, plan.layers, plan.both_ways, strict=True
        ):
            made = nn.RNN if "RNN" in kind else getattr(nn, kind)
            more: Mapping[str, Any] = {"nonlinearity": "relu"} if kind == "relu RNN" else {}
            self.stacks.append(
                made(
                    width,
                    hidden,
                    layers,
                    bias=plan.biased,
                    batch_first=plan.batch_first,
                    dropout=0.1 * (layers > 1),
                    bidirectional=both,
                    **more,
                )
            )
            self.starts.append(nn.Parameter(torch.randn(layers * (1 + both), 1, hidden)))
            width = hidden * (1 + both)
        if plan.start == "computed" and plan.kinds:
            self.bridge = nn.Linear(plan.width, plan.hidden[0])
        self.after = nn.LayerNorm(width) if plan.norm_after else nn.Identity()
        joined = width if plan.tokens else width * len(plan.poolings)
        out, hidden = plan.outputs, 10
        self.gate = nn.Linear(joined, joined)
        acts = {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.2), "tanh": nn.Tanh()}
        if plan.head in acts:
            self.head: nn.Module = nn.Sequential(
                nn.Linear(joined, hidden), acts[plan.head], nn.Linear(hidden, out)
            )
        elif plan.head == "several":
            self.head = nn.ModuleList(nn.Linear(joined, 1) for _ in range(out))
        else:
            self.head = nn.Linear(joined, out)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape)).mul_(scale)

    def embedded(self, ids: Tensor) -> Tensor:
        """What the layers read, `[batch, length, width]`."""
        plan, length = self.plan, ids.shape[1]
        x = self.tables[0](ids)
        for table in self.tables[1:]:
            x = x + table(ids)
        if plan.scaled:
            x = x * plan.width**0.5
        if plan.places == "embedding":
            x = x + self.places(torch.arange(length, device=ids.device))
        elif plan.places == "reversed":
            x = self.places(torch.arange(length).unsqueeze(0)) + x
        elif plan.places != "none":
            x = x + self.table[:, :length]
        made: Tensor = self.drop(self.before(x))
        return made

    def forward(self, ids: Tensor) -> Tensor:
        plan = self.plan
        x = embedded = self.embedded(ids)
        mask = None if plan.pad_id is None else ids != plan.pad_id
        state = x[:, 0]
        for number, stack in enumerate(self.stacks):
            y, state = self.run(number, stack, x, embedded, mask)
            x = x + y if plan.residual and x.shape == y.shape else y
        x = self.after(x)
        if plan.tokens:
            return self.answer(x)
        pooled = [self.pooled(each, x, state, mask) for each in plan.poolings]
        return self.answer(pooled[0] if len(pooled) == 1 else torch.cat(pooled, 1))

    def run(
        self, number: int, stack: nn.Module, x: Tensor, embedded: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The outputs of one recurrent stack, and the last state of its last layer."""
        plan = self.plan
        first = self.first(number, x, embedded)
        given = x if plan.batch_first else x.transpose(0, 1)
        if plan.packed and mask is not None:
            packed = pack_padded_sequence(
                given, mask.sum(1).cpu(), plan.batch_first, enforce_sorted=False
            )
            y, last = stack(packed, first)
            y, _ = pad_packed_sequence(y, plan.batch_first, total_length=x.shape[1])
        else:
            y, last = stack(given, first)
        y = y if plan.batch_first else y.transpose(0, 1)
        states = last[0] if isinstance(last, tuple) else last
        if plan.both_ways[number]:
            return y, torch.cat([states[-2], states[-1]], 1)
        return y, states[-1]

    def first(self, number: int, x: Tensor, embedded: Tensor) -> Any:
        """The states that a stack starts from."""
        plan = self.plan
        # What is packed must not be begun with a mean over padding.
        if plan.start == "none" or (plan.packed and plan.start == "computed"):
            return None
        start = self.starts[number]
        if plan.start == "computed" and number == 0:
            count = start.shape[0]
            state = torch.tanh(self.bridge(embedded.mean(1))).unsqueeze(0).repeat(count, 1, 1)
        else:
            state = start.expand(-1, x.shape[0], -1).contiguous()
        return (state, 0.5 * state) if plan.kinds[number] == "LSTM" else state

    def pooled(self, how: str, x: Tensor, state: Tensor, mask: Tensor | None) -> Tensor:
        """Numbers of each row, `[batch, width]`."""
        if how == "state" and state.shape[1] == x.shape[2]:
            return state
        if how == "first":
            return x[:, 0]
        if mask is None:
            if how in ("last", "state"):
                return x[:, -1]
            return {
                "mean": lambda: x.mean(1),
                "max": lambda: x.max(1).values,
                "min": lambda: x.amin(1),
                "sum": lambda: x.sum(1),
            }[how]()
        wide = mask.unsqueeze(-1)
        if how == "last":
            at = (mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, x.shape[2])
            return x.gather(1, at).squeeze(1)
        if how == "state":
            return x[torch.arange(x.shape[0]), mask.sum(1) - 1]
        if how == "max":
            return x.masked_fill(~wide, self.plan.fill).max(1).values
        if how == "min":
            return torch.where(wide, x, -self.plan.fill).amin(1)
        total = (x * wide.float()).sum(1)
        return total if how == "sum" else total / wide.sum(1).clamp(min=1)

    def answer(self, x: Tensor) -> Tensor:
        if self.plan.head == "gate":
            x = x * torch.sigmoid(self.gate(x))
        if isinstance(self.head, nn.ModuleList):
            found = torch.cat([head(x) for head in self.head], -1)
        else:
            found = self.head(x)
        return found.squeeze(-1) if self.plan.outputs == 1 else found
