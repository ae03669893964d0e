from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pe_deploy import BundleError, InvalidInputError, Manifest, OnnxClassifier, open_bundle
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.bundle.inventory import inventory_of
from pe_deploy.bundle.manifest import FileRecord


def test_an_untouched_bundle_opens(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    assert set(bundle.files) == {
        "golden.npz",
        "model.onnx",
        "model.pt",
        "model.throughput.onnx",
        "parity.json",
    }
    assert bundle.manifest.parity["passed"] is True
    assert bundle.manifest.versions["opset"] == 18
    assert bundle.manifest_json == (any_bundle / "manifest.json").read_bytes()
    assert bundle.signature is None


def test_a_manifest_survives_the_way_to_json_and_back(any_bundle: Path) -> None:
    data = (any_bundle / "manifest.json").read_bytes()
    assert Manifest.from_json(data).to_json() == data


def test_missing_files_are_named_and_extra_ones_are_no_error(own_bundle: Path) -> None:
    (own_bundle / "notes.txt").touch()
    open_bundle(own_bundle)
    (own_bundle / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"lacks golden\.npz, which its manifest\.json lists"):
        open_bundle(own_bundle)


def test_documentation_gets_no_digest(own_bundle: Path, tmp_path: Path) -> None:
    """Though the manifest that was made before lists it."""
    old = open_bundle(own_bundle)
    assert "README.md" in old.manifest.files
    (tmp_path / "new").mkdir()
    write_bundle(tmp_path / "new", old.manifest, {**old.files, "README.md": b"# prose"})
    assert (tmp_path / "new" / "README.md").read_bytes() == b"# prose"
    new = open_bundle(tmp_path / "new")
    assert new.manifest.files == {name: FileRecord.of(data) for name, data in old.files.items()}
    assert not any(inventory_of(new))
    (tmp_path / "new" / "README.md").unlink()
    assert not any(inventory_of(new))


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, own_bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder"):
        open_bundle(tmp_path / "nowhere")
    (own_bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"holds no manifest\.json"):
        open_bundle(own_bundle)


def test_a_bundle_without_onnx_says_so(own_bundle: Path, reseal: Callable[..., bytes]) -> None:
    (own_bundle / "model.onnx").unlink()
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"holds no model\.onnx; it holds README\.md"):
        OnnxClassifier(own_bundle)


def test_settings_outside_their_range_are_named() -> None:
    from pe_deploy import ModelConfig, Signature, TrainConfig
    from pe_deploy.config import Decision

    for make, message in (
        (
            lambda: ModelConfig(vocab_size=0, max_length=3),
            "vocab_size is 0; allowed: a whole number, 1 to",
        ),
        (lambda: ModelConfig(5, 3, pad_id=5), "pad_id is 5; allowed: a whole number, 0 to 4"),
        (lambda: ModelConfig(5, 3, dropout=1.0), "dropout is 1.0; allowed"),
        (lambda: ModelConfig.from_dict({"vocab_size": 5, "size": 1}), "unknown.*size.*max_length"),
        (lambda: TrainConfig(epochs=0), "epochs is 0"),
        (lambda: ModelConfig(2**40, 3), "vocab_size is .* 1 to 2147483647"),
        (lambda: ModelConfig(1, 3, pad_id=0), "vocab_size is 1; allowed: .* 2 to"),
        (lambda: Decision((-1, 2**63), 0.5).check(Signature(5, 3)), "would not come back"),
        (lambda: Decision(("a", "a\0"), 0.5).check(Signature(5, 3)), "would not come back"),
        (lambda: Decision(("a", "\ud800"), 0.5).check(Signature(5, 3)), "would not come back"),
        (lambda: TrainConfig(batch_size=True), "batch_size is True"),
        (lambda: TrainConfig(learning_rate=float("nan")), "learning_rate is nan"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            make()
