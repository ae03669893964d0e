"""The notebook's classifier: token embedding + learnable positions → GRU → linear head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pe_deploy.errors import InvalidInputError
from pe_deploy.model_config import ModelConfig


class LearnablePositionalEncoding(nn.Module):
    """Adds a trained vector to each position: `out[b, t] = embedded[b, t] + table[t]`.

    The table is learned with everything else, as in Gehring et al. (2017), "Convolutional
    Sequence to Sequence Learning", section 3.1; a row exists only for positions below
    `max_length`.
    """

    def __init__(self, max_length: int, embedding_dim: int) -> None:
        super().__init__()
        self.positional_encoding = nn.Embedding(max_length, embedding_dim)

    def forward(self, embedded: Tensor) -> Tensor:
        """Float `[batch, sequence, embedding_dim]` in and out; `sequence` up to `max_length`."""
        # Positions are always 0, 1, 2, …: a slice of the table is what a gather would fetch.
        return embedded + self.positional_encoding.weight[: embedded.size(1)]


class GRUClassifier(nn.Module):
    """Classifies rows of token ids by the GRU's state after each row's last token.

    Scripts with `torch.jit.script` and exports with `torch.export`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.pad_id = config.pad_id
        self.num_classes = config.num_classes
        # These names, in this order, are the notebook's: its state_dict loads without renaming,
        # and one seed gives the same initial weights there and here.
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.pos_encoder = LearnablePositionalEncoding(config.max_length, config.embedding_dim)
        self.rnn_lay = nn.GRU(
            config.embedding_dim,
            config.hidden_dim,
            config.num_layers,
            batch_first=True,
            # It acts between layers, and torch warns where there is nothing between.
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.fc_lay = nn.Linear(config.hidden_dim, config.num_classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits of each row, float32 `[batch]`; `[batch, num_classes]` where that is not 1.

        Args:
            input_ids: integers `[batch, sequence]`, 1 or more rows of 1 to `max_length` ids, each
                in `0 … vocab_size - 1`; with a `pad_id`, padded on the right. They are not checked
                here: whoever takes them from outside does that, such as `EagerClassifier`.
        """
        embedded = self.embedding(input_ids)  # [batch, sequence, embedding_dim]
        placed = self.pos_encoder(embedded)  # [batch, sequence, embedding_dim]
        states, last = self.rnn_lay(placed)  # [batch, sequence, hidden], [layers, batch, hidden]
        if self.pad_id is None:
            summary = last[-1]  # [batch, hidden_dim]
        else:
            # A GRU reads from left to right, so the padding after a row's last token cannot
            # change the state at that token: picking it out is exact, and needs no packing.
            rows = torch.arange(input_ids.size(0), device=input_ids.device)  # [batch]
            ends = ((input_ids != self.pad_id).sum(1) - 1).clamp(min=0)  # [batch]
            summary = states[rows, ends]  # [batch, hidden_dim]
        logits: Tensor = self.fc_lay(summary)  # [batch, num_classes]
        if self.num_classes == 1:
            logits = logits.squeeze(1)  # [batch]
        return logits


@contextmanager
def in_memory(config: ModelConfig) -> Iterator[None]:
    """Say of sizes that are too large, of which torch complains in many ways, which they are.

    Raises:
        InvalidInputError: the block needs more memory than there is.
    """
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError) as error:
        names = ("vocab_size", "max_length", "embedding_dim", "hidden_dim", "num_layers")
        sizes = ", ".join(f"{name} {getattr(config, name)}" for name in names)
        raise InvalidInputError(f"sizes are {sizes}; allowed: what fits in memory") from error


def keep_states_longer(model: GRUClassifier, bias: float) -> None:
    """Add `bias` to the bias of every update gate: torch's gates are reset, update, new."""
    with torch.no_grad():
        for layer in range(model.rnn_lay.num_layers):
            model.rnn_lay.get_parameter(f"bias_hh_l{layer}").chunk(3)[1].add_(bias)
