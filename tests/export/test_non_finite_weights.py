"""A NaN in a weight gives label 0 without a word: it must be neither loaded nor published."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pe_deploy import BundleError, open_bundle
from pe_deploy.bundle.artifacts import TORCHSCRIPT
from pe_deploy.errors import PeDeployError
from pe_deploy.export import ExportOptions, Source, export_module, to_torchscript
from pe_deploy.runtime.torchscript import TorchScriptClassifier, jit_deprecation_ignored


@pytest.fixture
def own_source(notebook_source: Source) -> Source:
    """With weights that a test may change."""
    return dataclasses.replace(notebook_source, module=copy.deepcopy(notebook_source.module))


def loaded(notebook_bundle: Path, module: nn.Module) -> TorchScriptClassifier:
    bundle = open_bundle(notebook_bundle)
    files = {**bundle.files, TORCHSCRIPT: to_torchscript(module, bundle.manifest.signature)}
    return TorchScriptClassifier(dataclasses.replace(bundle, files=files))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["embedding.weight", "rnn_lay.bias_hh_l1", "fc_lay.bias", "fc_lay.weight"]
)
def test_torchscript_with_such_a_weight_is_not_loaded(
    notebook_bundle: Path, own_source: Source, name: str, value: float
) -> None:
    loaded(notebook_bundle, own_source.module)
    with torch.no_grad():
        own_source.module.get_parameter(name).view(-1)[-1] = value
    with pytest.raises(BundleError, match=r"model\.pt: its weights are not finite"):
        loaded(notebook_bundle, own_source.module)


def test_weights_that_were_not_frozen_are_seen_too(
    notebook_bundle: Path, own_source: Source, tmp_path: Path
) -> None:
    with torch.no_grad():
        own_source.module.get_parameter("fc_lay.bias")[0] = float("nan")
    with jit_deprecation_ignored():
        torch.jit.save(torch.jit.script(own_source.module), tmp_path / "model.pt")
    bundle = open_bundle(notebook_bundle)
    files = {**bundle.files, TORCHSCRIPT: (tmp_path / "model.pt").read_bytes()}
    with pytest.raises(BundleError, match=r"model\.pt: its weights are not finite"):
        TorchScriptClassifier(dataclasses.replace(bundle, files=files))


class Masked(nn.Module):
    """Pools by attention: minus infinity stands for what it may not look at."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("hidden", torch.tensor(float("-inf")))

    def forward(self, input_ids: Tensor) -> Tensor:
        scores = torch.where(input_ids == 0, self.hidden, input_ids.float())  # type: ignore[arg-type]
        share: Tensor = torch.exp(scores - 12.0).sum(1)
        logits: Tensor = self.module(input_ids)
        return logits + share


def test_a_mask_may_be_infinite(tmp_path: Path, notebook_source: Source) -> None:
    source = dataclasses.replace(
        notebook_source, module=Masked(notebook_source.module).eval(), model=None
    )
    exported = export_module(source, tmp_path / "bundle", ExportOptions(crossover=24))
    assert exported.report.passed
    open_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("formats", [("onnx",), ("torchscript",)])
def test_such_weights_are_not_published(
    tmp_path: Path, own_source: Source, formats: tuple[str, ...]
) -> None:
    with torch.no_grad():
        # A row of a token: no more than a few answers tell.
        own_source.module.get_parameter("embedding.weight")[7] = float("nan")
    with pytest.raises(PeDeployError) as caught:
        export_module(own_source, tmp_path / "bundle", ExportOptions(formats=formats))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()
