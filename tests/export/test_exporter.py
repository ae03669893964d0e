from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import pe_deploy.export.exporter as exporter
from pe_deploy import ExportError, InvalidInputError, OnnxClassifier, ParityError, open_bundle
from pe_deploy.export import Source, export, export_module
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.training import GRUClassifier


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_published_bundle_is_the_model(tmp_path: Path, padded_source: Source) -> None:
    exported = export_module(padded_source, tmp_path / "bundle")
    assert exported.report.passed
    shapes = {pair[1:] for pair in exported.report.pairs() if pair[0] == "shapes"}
    assert shapes == {(name, "float64") for name in ("eager", "torchscript", "onnx", "throughput")}
    ids = np.random.default_rng(5).integers(4, 30, (9, 6))
    expected = padded_source.module(torch.from_numpy(ids)).detach().numpy()
    for classifier in (
        OnnxClassifier(tmp_path / "bundle"),
        TorchScriptClassifier(tmp_path / "bundle"),
    ):
        np.testing.assert_allclose(classifier.predict_logits(ids), expected, atol=1e-6)
        assert classifier.predict(ids).tolist() == expected.argmax(1).tolist()


def test_padding_never_changes_an_answer(tmp_path: Path, padded_source: Source) -> None:
    export_module(padded_source, tmp_path / "bundle")
    row, longer = [4, 9, 29], [5, 6, 7, 8, 9, 10, 11]
    for classifier in (
        OnnxClassifier(tmp_path / "bundle"),
        TorchScriptClassifier(tmp_path / "bundle"),
    ):
        alone = classifier.predict_logits([row])[0]
        with_longer = classifier.predict_logits([longer, row])[1]
        padded = classifier.predict_logits([row + [3] * 5])[0]
        np.testing.assert_allclose(with_longer, alone, atol=1e-6)
        np.testing.assert_allclose(padded, alone, atol=1e-6)


def test_the_config_travels_in_every_artifact(tmp_path: Path, notebook_source: Source) -> None:
    bundle = export_module(notebook_source, tmp_path / "bundle").bundle
    model = onnx.load_from_string(bundle.read("model.onnx"))
    (entry,) = model.metadata_props
    extra = {"pe_deploy.json": ""}
    from pe_deploy.runtime.torchscript import jit_deprecation_ignored

    with jit_deprecation_ignored():
        torch.jit.load(str(tmp_path / "bundle" / "model.pt"), _extra_files=extra)  # type: ignore[no-untyped-call]
    for text in (entry.value, extra["pe_deploy.json"]):
        config = json.loads(text)
        assert config["signature"] == notebook_source.signature.to_dict()
        assert config["weights_sha256"] == bundle.manifest.weights_sha256
    assert str(Path(__file__).parents[2]).encode() not in b"".join(bundle.files.values())


def test_the_same_weights_give_the_same_bytes(tmp_path: Path, padded_source: Source) -> None:
    """But for the crossover, which is measured where it is not stated."""
    export_module(padded_source, tmp_path / "first", crossover=24)
    export_module(padded_source, tmp_path / "second", crossover=24)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    assert len(digests(tmp_path / "first")) == 7


def test_the_same_bytes_from_another_process(tmp_path: Path, notebook_source: Source) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(notebook_source.module.state_dict(), weights)
    export(weights, tmp_path / "here", crossover=24)
    command = [sys.executable, "-m", "pe_deploy", "export", str(weights), "--crossover", "24"]
    subprocess.run(
        [*command, "-o", str(tmp_path / "there")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def wrong_weight(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    tensor = next(t for t in model.graph.initializer if t.name == "fc_lay.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] += 1e-2
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    changed: bytes = model.SerializeToString()
    return changed


@pytest.mark.parametrize("there_already", [True, False])
def test_a_changed_weight_publishes_nothing(
    tmp_path: Path,
    notebook_source: Source,
    monkeypatch: pytest.MonkeyPatch,
    there_already: bool,
) -> None:
    place = tmp_path / "bundle"
    if there_already:
        export_module(notebook_source, place)
    before = digests(place) if there_already else None
    make = exporter._make

    def sabotaged(*args: Any) -> Any:
        artifacts, manifest = make(*args)
        return {**artifacts, "model.onnx": wrong_weight(artifacts["model.onnx"])}, manifest

    monkeypatch.setattr(exporter, "_make", sabotaged)
    with pytest.raises(ParityError, match=r"parity failed .* in \d+ of \d+ cells.*onnx against"):
        export_module(notebook_source, place)
    assert (digests(place) if place.exists() else None) == before
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if there_already else [])


class NoPositions(GRUClassifier):
    """Scripts to something else than it computes in eager mode."""

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.embedding(input_ids)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            embedded = self.pos_encoder(embedded)
        _, last = self.rnn_lay(embedded)
        logits: Tensor = self.fc_lay(last[-1]).squeeze(1)
        return logits


def test_a_torchscript_that_computes_something_else_publishes_nothing(
    tmp_path: Path, notebook_source: Source
) -> None:
    assert isinstance(notebook_source.module, GRUClassifier)
    wrong = NoPositions(notebook_source.module.config)
    with pytest.raises(ParityError, match="torchscript against"):
        export_module(dataclasses.replace(notebook_source, module=wrong), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_one_format_alone(tmp_path: Path, notebook_source: Source) -> None:
    export_module(notebook_source, tmp_path / "onnx", formats=["onnx"])
    export_module(notebook_source, tmp_path / "pt", formats=["torchscript"])
    assert "model.pt" not in open_bundle(tmp_path / "onnx").files
    assert "model.onnx" not in open_bundle(tmp_path / "pt").files
    ids = [[1, 2, 3]]
    np.testing.assert_allclose(
        OnnxClassifier(tmp_path / "onnx").predict_logits(ids),
        TorchScriptClassifier(tmp_path / "pt").predict_logits(ids),
        atol=1e-6,
    )
    for formats in ([], ["onnx", "caffe"]):
        with pytest.raises(InvalidInputError, match="allowed: onnx, torchscript"):
            export_module(notebook_source, tmp_path / "none", formats=formats)


def test_a_folder_of_other_things_is_never_replaced(
    tmp_path: Path, notebook_source: Source
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("years of work")
    with pytest.raises(ExportError, match="is there and is not a bundle"):
        export_module(notebook_source, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "draft.txt").read_text() == "years of work"


def test_a_manifest_of_something_else_protects_its_folder(
    tmp_path: Path, notebook_source: Source
) -> None:
    """Web apps and browser extensions have a manifest.json, too."""
    place = tmp_path / "app"
    place.mkdir()
    (place / "manifest.json").write_text('{"name": "app"}')
    with pytest.raises(ExportError, match="is there and is not a bundle"):
        export_module(notebook_source, place)
    export_module(notebook_source, tmp_path / "bundle")
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds notes\.txt, which is not of its bundle"):
        export_module(notebook_source, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"


def test_the_place_has_to_have_a_name(
    tmp_path: Path, notebook_source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match="names no folder"):
        export_module(notebook_source, ".")


class Answers(GRUClassifier):
    """Answers in a shape that its signature does not state."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids)[:, None]


def test_an_answer_of_another_shape_is_refused(tmp_path: Path, notebook_source: Source) -> None:
    assert isinstance(notebook_source.module, GRUClassifier)
    wrong = Answers(notebook_source.module.config)
    source = dataclasses.replace(notebook_source, module=wrong)
    with pytest.raises(
        ExportError, match=r"gives float64 \[256, 1\] for 256 rows instead of .* \[256\]"
    ):
        export_module(source, tmp_path / "bundle", formats=["torchscript"])


def test_a_vocabulary_larger_than_the_module_is_refused(
    tmp_path: Path, notebook_source: Source
) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Embedding(5, 1)

        def forward(self, input_ids: Tensor) -> Tensor:
            total: Tensor = self.scores(input_ids).sum((1, 2))
            return total

    source = dataclasses.replace(notebook_source, module=Plain(), model=None)
    with pytest.raises(ExportError, match=r"fails in float64 on ids.*IndexError"):
        export_module(source, tmp_path / "bundle")


def test_padding_that_the_module_ignores_is_refused(
    tmp_path: Path, notebook_source: Source
) -> None:
    signature = dataclasses.replace(notebook_source.signature, pad_id=0)
    source = dataclasses.replace(notebook_source, signature=signature)
    with pytest.raises(ParityError, match=r"padding: .* against itself"):
        export_module(source, tmp_path / "bundle")


@pytest.mark.parametrize("name", ["README.md"])
def test_the_model_cards_snippet_runs(
    tmp_path: Path, padded_source: Source, notebook_source: Source, name: str
) -> None:
    for index, source in enumerate((padded_source, notebook_source)):
        for formats in (["onnx"], ["torchscript"]):
            place = tmp_path / f"{index}{formats[0]}"
            export_module(source, place, formats=formats)
            snippet = (place / name).read_text().split("```python\n")[1].split("```")[0]
            exec(snippet.replace("path/to/this/folder", str(place)), {})


def test_labels_and_threshold_must_fit(tmp_path: Path, notebook_source: Source) -> None:
    wrong = dataclasses.replace(notebook_source, labels=("yes", "no", "maybe"))
    with pytest.raises(InvalidInputError, match="2 distinct labels"):
        export_module(wrong, tmp_path / "bundle")


def test_a_threshold_moves_the_decision(tmp_path: Path, notebook_source: Source) -> None:
    strict = dataclasses.replace(notebook_source, labels=("no", "yes"), threshold=0.46)
    export_module(strict, tmp_path / "bundle")
    classifier = OnnxClassifier(tmp_path / "bundle")
    ids = np.random.default_rng(0).integers(0, 12, (200, 10))
    probability = classifier.predict_proba(ids)[:, 1]
    assert ((probability > 0.46) & (probability < 0.5)).any()
    assert (probability < 0.46).any()
    expected = np.where(probability > 0.46, "yes", "no")
    assert classifier.predict(ids).tolist() == expected.tolist()


def test_a_users_own_module_becomes_a_bundle(tmp_path: Path) -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Embedding(7, 3)
            self.reader = nn.GRU(3, 4, batch_first=True)
            self.out = nn.Linear(4, 5)

        def forward(self, input_ids: Tensor) -> Tensor:
            states, _ = self.reader(self.scores(input_ids))
            logits: Tensor = self.out(states.amax(1))
            return logits

    from pe_deploy import Signature

    signature = Signature(vocab_size=7, max_length=33, num_classes=5)
    source = Source(Counter().eval(), signature, ("a", "b", "c", "d", "e"), None)
    export_module(source, tmp_path / "bundle")
    assert OnnxClassifier(tmp_path / "bundle").predict([[0, 6] * 10]).shape == (1,)


@pytest.mark.parametrize("crossover", [0, -1, True, 2.0, 2**31])
def test_a_crossover_that_is_no_number_of_rows(
    tmp_path: Path, padded_source: Source, crossover: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"crossover is .*; allowed: 1 to 1024 rows"):
        export_module(padded_source, tmp_path / "bundle", crossover=crossover)


@pytest.mark.parametrize("settings", [{"throughput": False}, {"formats": ["torchscript"]}])
def test_a_crossover_where_there_is_one_form(
    tmp_path: Path, padded_source: Source, settings: Any
) -> None:
    with pytest.raises(InvalidInputError, match="crossover is 8; allowed only where"):
        export_module(padded_source, tmp_path / "bundle", crossover=8, **settings)
