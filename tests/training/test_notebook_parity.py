"""`train("synthetic")` is the notebook's training, figure by figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_deploy.training import TrainResult, load_checkpoint


class _Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positional_encoding = nn.Embedding(10, 16)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.size(1)).unsqueeze(0).repeat(x.size(0), 1)
        table: Tensor = self.positional_encoding(positions)
        return x + table


class _Notebook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 16)
        self.pos_encoder = _Positions()
        self.rnn_lay = nn.GRU(16, 32, 2, batch_first=True)
        self.fc_lay = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, h_n = self.rnn_lay(self.pos_encoder(self.embedding(x)))
        logits: Tensor = self.fc_lay(h_n[-1])
        return logits.squeeze(1)


@dataclass(frozen=True)
class _Reference:
    losses: list[float]
    val_accuracy: float
    initial: Tensor
    model: nn.Module


@pytest.fixture(scope="module")
def reference() -> _Reference:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids, labels = torch.randint(0, 12, (40, 10)), torch.randint(0, 2, (40,))
        model = _Notebook()
        criterion = nn.BCEWithLogitsLoss()
        parts = (model.embedding, model.pos_encoder, model.rnn_lay, model.fc_lay)
        groups = [{"params": part.parameters()} for part in parts]
        optimizer = torch.optim.Adam(groups, lr=3e-3)
        initial = model.pos_encoder.positional_encoding.weight.detach().clone()
        losses = []
        for _ in range(25):
            total = 0.0
            for start in range(0, 40, 4):
                optimizer.zero_grad()
                loss = criterion(model(ids[start : start + 4]), labels[start : start + 4].float())
                total += loss.item()
                loss.backward()
                optimizer.step()
            losses.append(total)
        val_ids, val_labels = torch.randint(0, 12, (40, 10)), torch.randint(0, 2, (40,))
        with torch.no_grad():
            decided = torch.round(torch.sigmoid(model(val_ids)))
        return _Reference(losses, (decided == val_labels).sum().item() / 40, initial, model)


def test_every_epochs_loss_is_the_notebooks(
    synthetic_run: TrainResult, reference: _Reference
) -> None:
    losses = [metrics.loss for metrics in synthetic_run.metrics]
    np.testing.assert_allclose(losses, reference.losses, rtol=0, atol=1e-5)
    assert losses[0] > 6
    assert losses[-1] < 0.05


def test_accuracy_on_the_second_random_set_is_the_notebooks(
    synthetic_run: TrainResult, reference: _Reference
) -> None:
    assert synthetic_run.last.val_accuracy == reference.val_accuracy


def test_positional_table_starts_at_the_notebooks_and_moves(
    synthetic_run: TrainResult, reference: _Reference
) -> None:
    with np.load(synthetic_run.output / "positions.npz") as arrays:
        np.testing.assert_array_equal(arrays["initial"], reference.initial.numpy())
        distances = np.linalg.norm(arrays["final"] - arrays["initial"], axis=1)
    shift = synthetic_run.shift
    assert shift.moved
    assert (distances > 0).all()
    assert shift.mean == pytest.approx(distances.mean())
    assert shift.max == pytest.approx(distances[shift.position])


def test_last_weights_answer_as_the_notebooks_model(
    synthetic_run: TrainResult, reference: _Reference
) -> None:
    model = load_checkpoint(synthetic_run.output, weights="last").model
    ids = torch.randint(0, 12, (50, 10), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), reference.model(ids), rtol=0, atol=1e-4)
