from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
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

from pe_deploy import (
    ExportError,
    InvalidInputError,
    OnnxClassifier,
    ParityError,
    Signature,
    open_bundle,
)
from pe_deploy.export import Exported, ExportOptions, Source, export_module, to_onnx
from pe_deploy.runtime.torchscript import TorchScriptClassifier, jit_deprecation_ignored
from pe_deploy.training import GRUClassifier

STATED = ExportOptions(crossover=24)
TORCHSCRIPT_ALONE = ExportOptions(formats="torchscript")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def torchscript_alone(notebook_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("torchscript") / "bundle"
    return export_module(notebook_source, place, TORCHSCRIPT_ALONE).bundle.path


def test_a_published_bundle_is_the_model(padded_export: Exported, padded_source: Source) -> None:
    assert padded_export.report.passed
    shapes = {pair[1:] for pair in padded_export.report.pairs() if pair[0] == "shapes"}
    assert shapes == {(name, "float64") for name in ("eager", "torchscript", "onnx", "throughput")}
    ids = np.random.default_rng(5).integers(4, 30, (9, 6))
    expected = padded_source.module(torch.from_numpy(ids)).detach().numpy()
    row, longer = [4, 9, 29], [5, 6, 7, 8, 9, 10, 11]
    path = padded_export.bundle.path
    for classifier in (OnnxClassifier(path), TorchScriptClassifier(path)):
        np.testing.assert_allclose(classifier.predict_logits(ids), expected, atol=1e-6)
        assert classifier.predict(ids).tolist() == expected.argmax(1).tolist()
        alone = classifier.predict_logits([row])[0]
        with_longer = classifier.predict_logits([longer, row])[1]
        padded = classifier.predict_logits([row + [3] * 5])[0]
        np.testing.assert_allclose(with_longer, alone, atol=1e-6)
        np.testing.assert_allclose(padded, alone, atol=1e-6)


def test_the_config_travels_in_every_artifact(
    notebook_export: Exported, notebook_source: Source
) -> None:
    bundle = notebook_export.bundle
    (entry,) = onnx.load_from_string(bundle.read("model.onnx")).metadata_props
    extra = {"pe_deploy.json": ""}
    with jit_deprecation_ignored():
        torch.jit.load(str(bundle.path / "model.pt"), _extra_files=extra)  # type: ignore[no-untyped-call]
    for text in (entry.value, extra["pe_deploy.json"]):
        config = json.loads(text)
        assert config["signature"] == notebook_source.signature.to_dict()
        assert config["weights_sha256"] == bundle.manifest.weights_sha256
    assert str(Path(__file__).parents[2]).encode() not in b"".join(bundle.files.values())


def test_the_same_weights_give_the_same_bytes(
    tmp_path: Path, padded_source: Source, padded_export: Exported
) -> None:
    """But for the crossover, which is measured where it is not stated."""
    export_module(padded_source, tmp_path / "second", STATED)
    assert digests(padded_export.bundle.path) == digests(tmp_path / "second")
    assert len(digests(tmp_path / "second")) == 7


def test_the_same_bytes_from_another_process(
    tmp_path: Path, notebook_source: Source, notebook_export: Exported
) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(notebook_source.module.state_dict(), weights)
    command = [sys.executable, "-m", "pe_deploy", "export", str(weights), "--crossover", "24"]
    subprocess.run([*command, "-o", str(tmp_path / "there")], check=True, stdout=subprocess.DEVNULL)
    assert digests(notebook_export.bundle.path) == digests(tmp_path / "there")


def test_a_changed_weight_publishes_nothing(
    tmp_path: Path,
    notebook_source: Source,
    notebook_export: Exported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "bundle"
    shutil.copytree(notebook_export.bundle.path, place)
    before = digests(place)

    def with_a_wrong_weight(*args: Any, **options: Any) -> onnx.ModelProto:
        model = to_onnx(*args, **options)
        tensor = next(t for t in model.graph.initializer if t.name == "fc_lay.weight")
        values = numpy_helper.to_array(tensor).copy()
        values[0, 0] += 1e-2
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr("pe_deploy.export.exporter.to_onnx", with_a_wrong_weight)
    with pytest.raises(ParityError, match=r"parity failed .* in \d+ of \d+ cells.*onnx against"):
        export_module(notebook_source, place, STATED)
    assert digests(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


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
        export_module(
            dataclasses.replace(notebook_source, module=wrong), tmp_path / "bundle", STATED
        )
    assert list(tmp_path.iterdir()) == []


def test_one_format_alone(tmp_path: Path, notebook_source: Source, torchscript_alone: Path) -> None:
    export_module(notebook_source, tmp_path / "onnx", ExportOptions(["onnx"], throughput=False))
    assert {"model.pt", "model.throughput.onnx"}.isdisjoint(open_bundle(tmp_path / "onnx").files)
    assert "model.onnx" not in open_bundle(torchscript_alone).files
    ids = [[1, 2, 3]]
    np.testing.assert_allclose(
        OnnxClassifier(tmp_path / "onnx").predict_logits(ids),
        TorchScriptClassifier(torchscript_alone).predict_logits(ids),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("draft.txt", "years of work", "is there and is not a bundle"),
        # Web apps and browser extensions have a manifest.json, too.
        ("manifest.json", '{"name": "app"}', "is there and is not a bundle"),
    ],
)
def test_a_folder_of_other_things_is_never_replaced(
    tmp_path: Path, notebook_source: Source, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ExportError, match=message):
        export_module(notebook_source, tmp_path)
    assert (tmp_path / name).read_text() == content


def test_a_file_of_its_own_protects_a_bundle(
    tmp_path: Path, notebook_source: Source, notebook_export: Exported
) -> None:
    shutil.copytree(notebook_export.bundle.path, tmp_path / "bundle")
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
    """Answers with more numbers than its signature states."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids)[:, None].expand(-1, 2)


def test_an_answer_of_another_shape_is_refused(tmp_path: Path, notebook_source: Source) -> None:
    assert isinstance(notebook_source.module, GRUClassifier)
    wrong = Answers(notebook_source.module.config)
    source = dataclasses.replace(notebook_source, module=wrong)
    with pytest.raises(ExportError, match=r"the module gives 2 classes; its signature says 1"):
        export_module(source, tmp_path / "bundle", TORCHSCRIPT_ALONE)


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
    with pytest.raises(ExportError, match=r"vocab_size is 12, .* scores.weight \(5 rows\)"):
        export_module(source, tmp_path / "bundle")


def test_padding_that_the_module_ignores_is_refused(
    tmp_path: Path, notebook_source: Source
) -> None:
    signature = dataclasses.replace(notebook_source.signature, pad_id=0)
    source = dataclasses.replace(notebook_source, signature=signature)
    with pytest.raises(ExportError, match=r"padding changes the answer"):
        export_module(source, tmp_path / "bundle")


def test_the_model_cards_snippet_runs(
    padded_export: Exported, notebook_export: Exported, torchscript_alone: Path
) -> None:
    for place in (padded_export.bundle.path, notebook_export.bundle.path, torchscript_alone):
        snippet = (place / "README.md").read_text().split("```python\n")[1].split("```")[0]
        exec(snippet.replace("path/to/this/folder", str(place)), {})


def test_labels_and_threshold_must_fit(tmp_path: Path, notebook_source: Source) -> None:
    wrong = dataclasses.replace(notebook_source, labels=("yes", "no", "maybe"))
    with pytest.raises(InvalidInputError, match="2 distinct labels"):
        export_module(wrong, tmp_path / "bundle")


def test_a_threshold_moves_the_decision(tmp_path: Path, notebook_source: Source) -> None:
    strict = dataclasses.replace(notebook_source, labels=("no", "yes"), threshold=0.46)
    export_module(strict, tmp_path / "bundle", ExportOptions(["onnx"], throughput=False))
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

    signature = Signature(vocab_size=7, max_length=33, num_classes=5)
    source = Source(Counter().eval(), signature, ("a", "b", "c", "d", "e"), None)
    export_module(source, tmp_path / "bundle", STATED)
    assert OnnxClassifier(tmp_path / "bundle").predict([[0, 6] * 10]).shape == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": []}, "formats are none; allowed: onnx, torchscript, c"),
        ({"formats": ["onnx", "caffe"]}, "formats are onnx, caffe; allowed: onnx, torchscript, c"),
        ({"opset": 17}, "opset is 17; allowed: 18 to 23"),
        *(
            ({"crossover": value}, r"crossover is .*; allowed: 1 to 1024 rows")
            for value in (0, -1, True, 2.0, 2**31)
        ),
        ({"crossover": 8, "throughput": False}, "crossover is 8; allowed only where"),
        ({"crossover": 8, "formats": ["torchscript"]}, "crossover is 8; allowed only where"),
    ],
)
def test_options_outside_their_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ExportOptions(**options)
