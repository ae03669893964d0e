"""Whatever the digests cover is as it was published, or refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from pe_deploy import BundleError, Manifest, OnnxClassifier, open_bundle

FILES = (
    "golden.npz",
    "manifest.json",
    "model.onnx",
    "model.pt",
    "model.throughput.onnx",
    "parity.json",
)


@pytest.mark.parametrize("name", FILES)
def test_an_app_is_kept_from_what_it_would_run(own_bundle: Path, name: str) -> None:
    data = bytearray((own_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / name).write_bytes(data)
    damaged = pytest.raises(BundleError, match=f"{name} was changed after it was published")
    with damaged:
        open_bundle(own_bundle)
    runs = name.endswith((".json", ".onnx")) and name != "parity.json"
    with damaged if runs else nullcontext():
        OnnxClassifier(own_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_longer_or_shorter_file_is_refused(own_bundle: Path, name: str) -> None:
    data = (own_bundle / name).read_bytes()
    for other in (data[:-1], data + b"\n", b""):
        (own_bundle / name).write_bytes(other)
        with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
            open_bundle(own_bundle)


def test_no_flip_and_no_truncation_passes(own_bundle: Path) -> None:
    """1,000 single bits and 200 cuts, over all files as their sizes are."""
    chance = random.Random(4)
    original = {name: (own_bundle / name).read_bytes() for name in FILES}
    sizes = [len(data) for data in original.values()]
    for number in range(1200):
        # Half of them anywhere, half with the same share for each file, however small.
        name = chance.choices(FILES, sizes if number % 2 else None)[0]
        data = bytearray(original[name])
        if number < 1000:
            bit = chance.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        else:
            del data[chance.randrange(len(data)) :]
        (own_bundle / name).write_bytes(data)
        with pytest.raises(BundleError) as caught:
            open_bundle(own_bundle)
        assert name in str(caught.value)
        (own_bundle / name).write_bytes(original[name])
    open_bundle(own_bundle)


def test_every_byte_of_the_manifest_counts(own_bundle: Path) -> None:
    manifest = own_bundle / "manifest.json"
    original = manifest.read_bytes()
    for bit in range(0, 8 * len(original), 7):  # one or two of each byte
        data = bytearray(original)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleError, match=r"changed after it was published|a newer one"):
            Manifest.from_json(bytes(data))


def test_a_file_over_its_limit_is_refused_unread(
    own_bundle: Path, reseal: Callable[..., bytes]
) -> None:
    size = 2**31
    reseal(own_bundle, files={"model.onnx": {"size": size, "sha256": "0" * 64}})
    for path in own_bundle.iterdir():
        if path.name not in ("manifest.json", "model.onnx"):
            path.unlink()
    os.truncate(own_bundle / "model.onnx", size)  # a hole, which takes no place
    with pytest.raises(BundleError, match=rf"model\.onnx has {size} bytes; allowed: {size - 1} or"):
        open_bundle(own_bundle)


def test_a_path_that_cannot_be_is_no_bundle() -> None:
    for path in ("a\0b", "x" * 5000, ""):
        with pytest.raises(BundleError):
            open_bundle(path)


def test_a_signature_may_lie_beside_the_manifest(own_bundle: Path) -> None:
    signature = own_bundle / "model.sig"
    signature.write_bytes(b"signed")
    assert open_bundle(own_bundle).signature == b"signed"
    assert "model.sig" not in open_bundle(own_bundle).files
    os.truncate(signature, 2**20 + 1)
    with pytest.raises(BundleError, match=r"model\.sig has 1048577 bytes; allowed: 1048576"):
        open_bundle(own_bundle)
