"""Torch modules with a fault in them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pe_deploy.training import GRUClassifier


def with_gru(classifier: GRUClassifier, gru: nn.Module) -> GRUClassifier:
    """A copy with another module in the place of its GRU."""
    altered = copy.deepcopy(classifier)
    altered.rnn_lay = gru  # type: ignore[assignment]
    return altered.requires_grad_(False)


class ResetFirst(nn.Module):
    """An `nn.GRU` with `linear_before_reset=0`: the reset gate scales the state, not what is made
    of it. https://onnx.ai/onnx/operators/onnx__GRU.html
    """

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        # Of each layer: the weights of its inputs and of its state, and the bias of each.
        self.layers = [[getattr(gru, name) for name in names] for names in gru._all_weights]

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From `[batch, sequence, width]` to what `nn.GRU` gives."""
        last: list[Tensor] = []
        for input_weight, state_weight, input_bias, state_bias in self.layers:
            of_reset, of_update, of_new = state_weight.chunk(3)
            state_reset, state_update, state_new = state_bias.chunk(3)
            state = torch.zeros(inputs.size(0), of_new.size(0), dtype=inputs.dtype)
            states: list[Tensor] = []
            for step in inputs.unbind(1):
                projected = nn.functional.linear(step, input_weight, input_bias)
                reset, update, new = projected.chunk(3, dim=1)
                reset = torch.sigmoid(reset + nn.functional.linear(state, of_reset, state_reset))
                update = torch.sigmoid(
                    update + nn.functional.linear(state, of_update, state_update)
                )
                new = torch.tanh(new + nn.functional.linear(reset * state, of_new, state_new))
                state = (1 - update) * new + update * state
                states.append(state)
            inputs = torch.stack(states, dim=1)
            last.append(state)
        return inputs, torch.stack(last)


class MixedUp(nn.Module):
    """A GRU that reads down the batch instead of along each row; no shape shows it."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From `[batch, sequence, width]` to what `nn.GRU` gives."""
        states = self.gru(inputs.transpose(0, 1))[0].transpose(0, 1)
        return states, states[:, -1].unsqueeze(0)


class Reshape(nn.Module):
    """Forces ids into one shape, before a classifier reads them."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, input_ids: Tensor) -> Tensor:
        """The ids in another shape."""
        return input_ids.reshape(self.rows, self.columns)


class WrongAtOneLength(nn.Module):
    """A classifier whose answers are off where rows have one length, and right elsewhere."""

    def __init__(self, classifier: nn.Module, length: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.length = length

    def forward(self, input_ids: Tensor) -> Tensor:
        """The logits, each a little too large where rows have this one length."""
        logits: Tensor = self.classifier(input_ids)
        return logits + 0.01 if input_ids.size(1) == self.length else logits


class CentredOverBatch(nn.Module):
    """What a batch norm left in training mode does: each answer depends on the other rows."""

    def forward(self, logits: Tensor) -> Tensor:
        """The logits less the mean of all rows."""
        return logits - logits.mean(0)
