from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_deploy import BundleError, ExportError, open_bundle
from pe_deploy.config import Signature
from pe_deploy.export import Source, to_torchscript
from pe_deploy.runtime.torchscript import TorchScriptClassifier, jit_deprecation_ignored


def load(data: bytes, extra: dict[str, str] | None = None) -> nn.Module:
    with jit_deprecation_ignored():
        module: nn.Module = torch.jit.load(io.BytesIO(data), _extra_files=extra)  # type: ignore[no-untyped-call]
    return module


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (11, 3), (40, 7)])
def test_equals_eager_at_every_shape(padded_source: Source, shape: tuple[int, int]) -> None:
    scripted = load(to_torchscript(padded_source.module, padded_source.signature))
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, 30, shape))
    torch.testing.assert_close(scripted(ids), padded_source.module(ids), atol=0, rtol=0)


def test_the_bytes_do_not_tell_when_and_where_they_were_made(notebook_source: Source) -> None:
    first = to_torchscript(notebook_source.module, notebook_source.signature, {"note": "kept"})
    assert (
        to_torchscript(notebook_source.module, notebook_source.signature, {"note": "kept"}) == first
    )
    archive = zipfile.ZipFile(io.BytesIO(first))
    here = str(Path(__file__).parents[2]).encode()
    assert not any(here in archive.read(name) for name in archive.namelist())
    extra = {"note": ""}
    load(first, extra)
    assert extra["note"] in ("kept", b"kept")


def test_loads_where_pe_deploy_is_not_installed(tmp_path: Path, padded_source: Source) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(to_torchscript(padded_source.module, padded_source.signature))
    code = (
        "import sys; sys.modules['pe_deploy'] = None\n"
        "import torch\n"
        f"model = torch.jit.load({str(path)!r})\n"
        "print(tuple(model(torch.tensor([[4, 5, 3], [6, 7, 8]])).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(2, 4)"


def test_a_file_that_torch_does_not_load_is_one_line(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    damaged = dataclasses.replace(bundle, files={**bundle.files, "model.pt": b"garbage"})
    with pytest.raises(BundleError, match=r"model\.pt: torch .* does not load it") as error:
        TorchScriptClassifier(damaged)
    assert "\n" not in str(error.value)


def test_what_cannot_be_scripted_is_one_line() -> None:
    class Unscriptable(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            total = torch.zeros(len(input_ids))
            for step in range(input_ids.shape[1]):
                total = total + eval("input_ids[:, step].float()", {"step": step, **locals()})
            return total

    with pytest.raises(ExportError, match=r"cannot script Unscriptable: .*, and a trace") as error:
        to_torchscript(Unscriptable(), Signature(5, 3))
    assert "\n" not in str(error.value)
    assert "--format onnx leaves TorchScript out" in str(error.value)


def test_what_cannot_be_scripted_is_traced_where_the_trace_follows() -> None:
    class Tagged(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            total: Tensor = eval("input_ids.float().sum(1)")
            return total

    loaded = load(to_torchscript(Tagged(), Signature(5, 3)))
    for shape in ((1, 1), (2, 3), (7, 2)):
        ids = torch.randint(0, 5, shape)
        assert torch.equal(loaded(ids), ids.float().sum(1))
