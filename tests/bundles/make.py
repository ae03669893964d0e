"""Make the bundles in this folder again: `python tests/bundles/make.py`, after a format change."""

from __future__ import annotations

from pathlib import Path

import torch

from pe_deploy.config import Label
from pe_deploy.export import ExportOptions, Source, export_module
from pe_deploy.model_config import ModelConfig
from pe_deploy.training import GRUClassifier

HERE = Path(__file__).parent

CROSSOVER = 24  # stated, not measured: the same bytes on every machine


def make(
    name: str, config: ModelConfig, labels: tuple[Label, ...], threshold: float | None
) -> None:
    """Publish a model with random weights, its head balanced so that every label occurs."""
    torch.manual_seed(0)
    model = GRUClassifier(config).requires_grad_(False)
    model.fc_lay.weight.normal_(std=3.0)
    logits = model(torch.randint(1, config.vocab_size, (1000, config.max_length)))
    model.fc_lay.bias.sub_(logits.mean(0))
    source = Source(model, config.signature, labels, threshold, config.to_dict())
    export_module(source, HERE / name, ExportOptions(crossover=CROSSOVER))


if __name__ == "__main__":
    make("notebook", ModelConfig(vocab_size=12, max_length=10), (0, 1), 0.5)
    padded = ModelConfig(
        vocab_size=20, max_length=12, embedding_dim=8, hidden_dim=12, num_classes=3, pad_id=0
    )
    make("padded", padded, ("low", "middle", "high"), None)
    shortest = ModelConfig(vocab_size=5, max_length=1, embedding_dim=3, hidden_dim=4, num_layers=1)
    make("shortest", shortest, (0, 1), 0.5)
