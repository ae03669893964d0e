from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import BundleError, InvalidInputError, Manifest, OnnxClassifier, open_bundle
from pe_deploy.bundle import golden_from_bytes, golden_to_bytes


def test_an_untouched_bundle_opens(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    assert set(bundle.files) == {
        "README.md",
        "golden.npz",
        "model.onnx",
        "model.pt",
        "parity.json",
    }
    assert bundle.manifest.parity["passed"] is True
    assert bundle.manifest.versions["opset"] == 18


def test_a_manifest_survives_the_way_to_json_and_back(any_bundle: Path) -> None:
    data = (any_bundle / "manifest.json").read_bytes()
    assert Manifest.from_json(data).to_json() == data


@pytest.mark.parametrize(
    "name", ["README.md", "golden.npz", "model.onnx", "model.pt", "parity.json"]
)
def test_one_changed_bit_is_refused(own_bundle: Path, name: str) -> None:
    data = bytearray((own_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
        OnnxClassifier(own_bundle)


def test_a_truncated_file_is_refused(own_bundle: Path) -> None:
    (own_bundle / "model.onnx").write_bytes((own_bundle / "model.onnx").read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.onnx was changed"):
        open_bundle(own_bundle)


def test_missing_and_extra_files_are_named(own_bundle: Path) -> None:
    (own_bundle / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"lacks golden\.npz"):
        open_bundle(own_bundle)
    shutil.copy(own_bundle / "model.pt", own_bundle / "golden.npz")
    (own_bundle / "notes.txt").touch()
    with pytest.raises(BundleError, match=r"holds notes\.txt, which its manifest\.json does not"):
        open_bundle(own_bundle)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, own_bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder"):
        open_bundle(tmp_path / "nowhere")
    (own_bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"holds no manifest\.json"):
        open_bundle(own_bundle)


def change(manifest: Path, **changes: Any) -> bytes:
    values = json.loads(manifest.read_bytes())
    return json.dumps({**values, **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "not of the format pe_deploy.bundle"),
        ({"format_version": 2}, "has format_version 2; this pe_deploy reads 1"),
        ({"labels": [0, 0]}, "2 distinct labels"),
        ({"labels": [0, "one"]}, "all int or all str"),
        ({"labels": None}, "malformed"),
        ({"labels": "ab"}, "malformed"),
        ({"parity": 3}, "malformed"),
        ({"versions": [1]}, "malformed"),
        ({"model": 3}, "malformed"),
        ({"format_version": True}, "has format_version True"),
        ({"weights_sha256": None}, "malformed"),
        ({"threshold": 1.5}, "threshold is 1.5; allowed: 0.0 to 1.0"),
        ({"threshold": None}, "threshold is None"),
        ({"signature": {}}, "malformed"),
        ({"files": ["model.onnx"]}, "malformed"),
        ({"surprise": 1}, "malformed.*surprise"),
    ],
)
def test_a_wrong_manifest_is_refused(
    notebook_bundle: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(change(notebook_bundle / "manifest.json", **changes))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        Manifest.from_json(data)


def test_a_bundle_without_onnx_says_so(own_bundle: Path) -> None:
    (own_bundle / "model.onnx").unlink()
    manifest = own_bundle / "manifest.json"
    files = json.loads(manifest.read_bytes())["files"]
    del files["model.onnx"]
    manifest.write_bytes(change(manifest, files=files))
    with pytest.raises(BundleError, match=r"holds no model\.onnx; it holds README\.md"):
        OnnxClassifier(own_bundle)


def test_golden_vectors_give_the_same_bytes_twice(any_bundle: Path) -> None:
    data = (any_bundle / "golden.npz").read_bytes()
    assert golden_to_bytes(golden_from_bytes(data)) == data


def test_golden_vectors_cover_batches_lengths_and_both_ends(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    signature = bundle.manifest.signature
    inputs = [case.input_ids for case in bundle.golden()]
    assert {len(ids) for ids in inputs} >= {1, 2, 7}
    assert {ids.shape[1] for ids in inputs} >= {1, 3, signature.max_length}
    seen = np.concatenate([ids.ravel() for ids in inputs])
    assert {0, signature.vocab_size - 1} <= set(seen.tolist())


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"no zip",
        npz(),
        npz(**{"000.input_ids": np.ones((1, 1), int)}),
        npz(
            **{
                "000.input_ids": np.ones((2, 1), int),
                "000.float64": np.ones(3),
                "000.float32": np.ones(2, np.float32),
            }
        ),
        npz(
            **{
                "000.input_ids": np.array([[None]]),
                "000.float64": np.ones(1),
                "000.float32": np.ones(1, np.float32),
            }
        ),
    ],
)
def test_damaged_golden_vectors_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"golden\.npz"):
        golden_from_bytes(data)


def test_golden_logits_have_to_be_finite_and_of_one_shape(notebook_bundle: Path) -> None:
    case = open_bundle(notebook_bundle).golden()[0]
    for wrong in (
        dataclasses.replace(case, float64=case.float64 * np.inf),
        dataclasses.replace(case, float32=np.stack([case.float32] * 3, axis=1)),
        dataclasses.replace(case, input_ids=case.input_ids[:, 0]),
        dataclasses.replace(case, labels=np.array([[0]])),
    ):
        with pytest.raises(BundleError, match=r"golden\.npz"):
            golden_from_bytes(golden_to_bytes([wrong]))


def test_settings_outside_their_range_are_named() -> None:
    from pe_deploy import ModelConfig, Signature, TrainConfig
    from pe_deploy.config import check_decision

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
        (lambda: check_decision(Signature(5, 3), (-1, 2**63), 0.5), "would not come back"),
        (lambda: check_decision(Signature(5, 3), ("a", "a\0"), 0.5), "would not come back"),
        (lambda: check_decision(Signature(5, 3), ("a", "\ud800"), 0.5), "would not come back"),
        (lambda: TrainConfig(batch_size=True), "batch_size is True"),
        (lambda: TrainConfig(learning_rate=float("nan")), "learning_rate is nan"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            make()
