from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from pe_deploy import ModelConfig
from pe_deploy.export import Exported, ExportOptions, Source, export_module
from pe_deploy.training import GRUClassifier

# torch makes its table of operators anew for each capture, which is half of its work. Nothing
# changes the table afterwards, so all captures of a test run share it.
_table_of = cache(ONNXRegistry.from_torchlib)
ONNXRegistry.from_torchlib = staticmethod(_table_of)  # type: ignore[method-assign]

STATED = ExportOptions(crossover=24)  # not measured: sooner made, and the same bytes each time


def source_of(config: ModelConfig, seed: int = 0) -> Source:
    torch.manual_seed(seed)
    return Source(
        GRUClassifier(config).eval(),
        config.signature,
        tuple(range(config.signature.num_labels)),
        0.5 if config.num_classes == 1 else None,
        config.to_dict(),
    )


@pytest.fixture(scope="session")
def notebook_source() -> Source:
    """Shared by all tests, as the others here are: to change its weights, copy its module."""
    return source_of(ModelConfig(vocab_size=12, max_length=10))


@pytest.fixture(scope="session")
def padded_source() -> Source:
    return source_of(ModelConfig(30, 8, embedding_dim=5, hidden_dim=7, num_classes=4, pad_id=3))


@pytest.fixture(scope="session")
def notebook_export(notebook_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_module(notebook_source, tmp_path_factory.mktemp("made") / "bundle", STATED)


@pytest.fixture(scope="session")
def padded_export(padded_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_module(padded_source, tmp_path_factory.mktemp("made") / "bundle", STATED)
