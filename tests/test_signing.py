from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pe_deploy import BundleError, InvalidInputError, OnnxClassifier, open_bundle
from pe_deploy.bundle.artifacts import MANIFEST, SIGNATURE
from pe_deploy.bundle.bundle import open_parts
from pe_deploy.bundle.signing import signer
from pe_deploy.export import ExportOptions, Source, export_module
from pe_deploy.model_config import ModelConfig
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.training import GRUClassifier

IDS = [[1, 2, 3]]


def write_pair(
    folder: Path, key: Any, encryption: KeySerializationEncryption | None = None
) -> tuple[Path, Path]:
    folder.mkdir()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys") / "ours"
    return write_pair(folder, ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def source() -> Source:
    torch.manual_seed(0)
    model = GRUClassifier(ModelConfig(7, 4, embedding_dim=3, hidden_dim=4, num_layers=1))
    return Source(model, model.config.signature, (0, 1), 0.5, model.config.to_dict())


@pytest.fixture(scope="module")
def exported(
    source: Source, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("exported") / "bundle"
    return export_module(source, output, ExportOptions(sign=keys[0])).bundle.path


@pytest.fixture
def signed(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def openers(public_key: Path) -> list[Callable[[Path], object]]:
    return [
        lambda path: open_bundle(path, public_key=public_key),
        lambda path: OnnxClassifier(path, public_key=public_key),
        lambda path: TorchScriptClassifier(path, public_key=public_key),
        lambda path: OnnxClassifier(open_bundle(path), public_key=public_key),
    ]


def test_a_signed_bundle_opens_with_its_key_and_without(
    signed: Path, keys: tuple[Path, Path]
) -> None:
    for opener in openers(keys[1]):
        opener(signed)
    OnnxClassifier(signed).predict(IDS)
    assert open_bundle(signed).signature == (signed / SIGNATURE).read_bytes()


def test_the_tool_of_openssf_verifies_it_too(signed: Path, keys: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed)]
    options = ["--signature", str(signed / SIGNATURE), "--public_key", str(keys[1])]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (signed / "model.onnx").write_bytes(b"other")
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_an_unsigned_bundle_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / SIGNATURE).unlink()
    OnnxClassifier(signed)
    for opener in openers(keys[1]):
        with pytest.raises(BundleError, match=r"bundle is not signed: it holds no model\.sig"):
            opener(signed)


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    _, other = write_pair(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))
    for opener in openers(other):
        with pytest.raises(BundleError, match=r"is not signed by .*public\.pem: Key mismatch"):
            opener(signed)


def test_a_bundle_that_was_signed_again_by_another_is_refused(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = write_pair(tmp_path / "thief", ec.generate_private_key(ec.SECP384R1()))
    bundle = open_bundle(signed)
    files = {**bundle.files, MANIFEST: bundle.manifest_json}
    (signed / SIGNATURE).write_bytes(signer(private)(files, "bundle"))
    open_bundle(signed, public_key=public)
    with pytest.raises(BundleError, match="is not signed by"):
        open_bundle(signed, public_key=keys[1])
    # Even where it claims to be made with the right key.
    forged = json.loads((signed / SIGNATURE).read_text())
    honest = signer(keys[0])({"a": b"b"}, "bundle")
    forged["verificationMaterial"] = json.loads(honest)["verificationMaterial"]
    (signed / SIGNATURE).write_text(json.dumps(forged))
    with pytest.raises(BundleError, match="is not signed by"):
        open_bundle(signed, public_key=keys[1])


def test_a_signature_of_another_bundle_is_refused(
    signed: Path, source: Source, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    sibling = GRUClassifier(ModelConfig(7, 4, embedding_dim=3, hidden_dim=4, num_layers=1))
    other = Source(sibling, source.signature, (0, 1), 0.5, sibling.config.to_dict())
    export_module(other, tmp_path / "sibling", ExportOptions(sign=keys[0]))
    shutil.copy(tmp_path / "sibling" / SIGNATURE, signed / SIGNATURE)
    with pytest.raises(BundleError, match=r"is not signed by .*Hash mismatch for"):
        open_bundle(signed, public_key=keys[1])


@pytest.mark.parametrize("name", ["README.md", MANIFEST])
def test_what_only_the_signature_covers(
    signed: Path, keys: tuple[Path, Path], name: str, reseal: Callable[..., bytes]
) -> None:
    """A manifest that vouches for itself, and the prose, which no manifest lists."""
    if name == MANIFEST:
        versions = json.loads((signed / MANIFEST).read_bytes())["versions"]
        reseal(signed, versions={**versions, "torch": "9"})
    else:
        with (signed / "README.md").open("a") as file:
            file.write("\nTrust me.\n")
    for opener in openers(keys[1]):
        with pytest.raises(BundleError, match=r"is not signed by .*Hash mismatch for"):
            opener(signed)
    open_bundle(signed)  # without the key, nothing shows


def test_what_the_signature_does_not_cover(signed: Path, keys: tuple[Path, Path]) -> None:
    """Foreign files, and a README that was written after a bundle without one was signed."""
    (signed / ".DS_Store").touch()
    bundle = open_bundle(signed, public_key=keys[1])
    files = {**bundle.files, MANIFEST: bundle.manifest_json}
    (signed / SIGNATURE).write_bytes(signer(keys[0])(files, "bundle"))
    for opener in openers(keys[1]):
        opener(signed)


@pytest.mark.parametrize("name", ["README.md", "golden.npz"])
def test_a_signed_bundle_has_to_be_whole(signed: Path, keys: tuple[Path, Path], name: str) -> None:
    (signed / name).unlink()
    parts = open_parts(signed, ["model.onnx"])
    for opener in (
        lambda: open_bundle(signed, public_key=keys[1]),
        lambda: open_parts(signed, ["model.onnx"], public_key=keys[1]),
        lambda: parts.check_signature(keys[1]),
    ):
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            opener()


@pytest.mark.parametrize("damage", [b"", b"{}", b"null", b"[1]", b"\xff" * 40])
def test_a_damaged_signature_is_refused(
    signed: Path, keys: tuple[Path, Path], damage: bytes
) -> None:
    (signed / SIGNATURE).write_bytes(damage)
    with pytest.raises(BundleError, match="is not signed by") as caught:
        open_bundle(signed, public_key=keys[1])
    assert "\n" not in str(caught.value)


def test_one_changed_bit_of_a_signature_is_refused_or_meaningless(
    signed: Path, keys: tuple[Path, Path]
) -> None:
    good = json.loads((signed / SIGNATURE).read_bytes())["dsseEnvelope"]
    data = (signed / SIGNATURE).read_bytes()
    passed = 0
    for place in range(0, len(data) * 8, 41):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        (signed / SIGNATURE).write_bytes(changed)
        try:
            open_bundle(signed, public_key=keys[1])
        except BundleError:
            continue
        passed += 1  # in what no signature covers, such as its own media type
        assert json.loads(changed)["dsseEnvelope"]["payload"] == good["payload"]
    assert passed < len(data) * 8 / 41 / 20


def test_a_key_that_cannot_sign_is_named_before_any_work(
    source: Source, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    wrong, _ = write_pair(tmp_path / "ed25519", ed25519.Ed25519PrivateKey.generate())
    locked, _ = write_pair(
        tmp_path / "locked", ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")
    )
    for key in (tmp_path / "nowhere.pem", keys[1], wrong, locked):
        with pytest.raises(InvalidInputError, match=r"private key .* cannot be used: .*P-256"):
            export_module(source, tmp_path / "bundle", ExportOptions(sign=key))
        assert not (tmp_path / "bundle").exists()


def test_a_public_key_that_is_none_is_named(signed: Path, keys: tuple[Path, Path]) -> None:
    for key in (signed / "nowhere.pem", keys[0], signed / "README.md"):
        with pytest.raises(InvalidInputError, match=r"public key .* cannot be used: .*P-256"):
            open_bundle(signed, public_key=key)
