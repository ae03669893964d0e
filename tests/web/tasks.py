"""Small bundles of the tasks that no committed bundle has; with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pe_deploy.export import export_module


class Head(nn.Module):
    """Answers for each token, or for their mean."""

    def __init__(self, outputs: int, of_tokens: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.head = nn.Linear(8, outputs)
        self.of_tokens = of_tokens

    def forward(self, input_ids: Tensor) -> Any:
        states = self.embedding(input_ids)
        return self.head(states if self.of_tokens else states.mean(1))


def exported(folder: Path, task: Any, labels: Sequence[str]) -> Path:
    """A bundle of that task, with random weights."""
    torch.manual_seed(0)
    model = Head(len(labels), task == "tokens")
    export_module(model, folder, max_length=12, task=task, labels=labels, formats=("onnx",))
    return folder
