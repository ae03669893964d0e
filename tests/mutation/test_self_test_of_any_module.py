from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pe_deploy.errors import ExportError
from pe_deploy.export import ExportOptions, export_module
from pe_deploy.export.any_module import source_of, stated_by
from pe_deploy.mutation.run import self_test
from tests.export.people import MODELS


@pytest.mark.parametrize("name", ["attention, mask of truths", "tagger of packed rows"])
def test_every_fault_of_a_users_module_is_caught(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    torch.manual_seed(1)
    module: Any = model.make().eval()
    options = ExportOptions(["onnx"], crossover=64)
    made = export_module(module, tmp_path / "bundle", options, max_length=7, **model.stated)
    adapted = source_of(module, stated_by(made.bundle.manifest.signature)).module
    outcomes = self_test(made.bundle, adapted)
    planted = {outcome.fault for outcome in outcomes if outcome.planted}
    assert [o for o in outcomes if o.planted and not o.caught] == []
    assert {"gates swapped", "one weight changed by 1e-3", "labels exchanged"} <= planted
    if "mask" in name:
        assert "padding counted" in planted
    with pytest.raises(ExportError, match="does not state its architecture"):
        self_test(made.bundle)
