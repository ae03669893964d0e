from __future__ import annotations

import pytest
import torch

from pe_deploy import ModelConfig
from pe_deploy.export import Source
from pe_deploy.training import GRUClassifier


def classifier(config: ModelConfig, seed: int = 0) -> GRUClassifier:
    torch.manual_seed(seed)
    return GRUClassifier(config).eval()


def source_of(config: ModelConfig, seed: int = 0) -> Source:
    return Source(
        classifier(config, seed),
        config.signature,
        tuple(range(config.signature.num_labels)),
        0.5 if config.num_classes == 1 else None,
        config.to_dict(),
    )


@pytest.fixture
def notebook_source() -> Source:
    return source_of(ModelConfig(vocab_size=12, max_length=10))


@pytest.fixture
def padded_source() -> Source:
    return source_of(ModelConfig(30, 8, embedding_dim=5, hidden_dim=7, num_classes=4, pad_id=3))
