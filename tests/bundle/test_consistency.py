"""The parts of a bundle are of one export, even where somebody made every digest fit."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import Bundle, BundleError, open_bundle
from pe_deploy.bundle.golden import golden_to_bytes
from tests.bundle.protobuf import delimited, fields_of

Reseal = Callable[..., bytes]
SHA = "a" * 64


def of_other_weights(bundle: Bundle, name: str) -> bytes:
    """The same file, as an export of other weights would make it."""
    own, other = bundle.manifest.weights_sha256.encode(), b"0" * 64
    if name == "golden.npz":
        return golden_to_bytes(bundle.golden(), other.decode())
    if name.endswith(".onnx"):
        return bundle.files[name].replace(own, other)
    return zip_with(bundle.files[name], lambda _, content: content.replace(own, other))


def zip_with(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """An archive with its members changed, or left out."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as rewritten:
        for entry in source.infolist():
            content = change(entry.filename, source.read(entry))
            if content is not None:
                rewritten.writestr(entry, content)
    return target.getvalue()


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx", "model.throughput.onnx", "model.pt"])
def test_a_part_of_another_export_is_refused(own_bundle: Path, reseal: Reseal, name: str) -> None:
    made = of_other_weights(open_bundle(own_bundle), name)
    (own_bundle / name).write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=f"{name} is of another export: its weights_sha256"):
        open_bundle(own_bundle)


def test_a_manifest_of_another_export_is_refused(own_bundle: Path, reseal: Reseal) -> None:
    reseal(own_bundle, weights_sha256=SHA)
    with pytest.raises(BundleError, match=f"is of another export: .* in manifest.json {SHA}"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("only", ["model.onnx", "model.throughput.onnx", "model.pt"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 0.25),
        ("labels", [1, 0]),
        ("labels", ["0", "1"]),
        ("model", None),
        ("signature", "max_length"),
    ],
)
def test_a_part_and_the_manifest_say_the_same(
    own_bundle: Path, reseal: Reseal, only: str, key: str, value: Any
) -> None:
    """A bundle with one format, the decision changed in a manifest that vouches for itself."""
    for name in {"model.onnx", "model.throughput.onnx", "model.pt"} - {only}:
        (own_bundle / name).unlink()
    reseal(own_bundle)
    assert only in open_bundle(own_bundle).files
    if key == "signature":
        value = json.loads((own_bundle / "manifest.json").read_bytes())["signature"]
        value["max_length"] += 1
    reseal(own_bundle, **{key: value})
    with pytest.raises(BundleError, match=f"{only} is of another export: its {key} is not"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "is not JSON"),
        (b"[" * 1000, "is not JSON: nested deeper"),
        (b'{"labels": [0, 1], "labels": [1, 0]}', "is not JSON: key 'labels' occurs twice"),
        (b"[]", "does not hold just signature, labels"),
        (b"{}", "does not hold just signature, labels"),
        (None, "does not say which export it is of"),
    ],
)
@pytest.mark.parametrize("name", ["model.onnx", "model.pt"])
def test_a_part_has_to_say_whose_it_is(
    own_bundle: Path, reseal: Reseal, name: str, config: bytes | None, message: str
) -> None:
    data = (own_bundle / name).read_bytes()
    if name == "model.pt":
        made = zip_with(data, lambda member, old: config if "extra" in member else old)
    else:
        graph = fields_of(data)[7]
        made = delimited(7, graph)
        if config is not None:
            made += delimited(14, delimited(1, b"pe_deploy.json") + delimited(2, config))
    (own_bundle / name).write_bytes(made)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=rf"{name}.*{message}"):
        open_bundle(own_bundle)
