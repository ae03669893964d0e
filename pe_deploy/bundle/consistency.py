"""The parts of a bundle are of one export: each repeats what the manifest says of the model."""

from __future__ import annotations

from typing import Any

from pe_deploy.bundle.artifacts import (
    CONFIG_KEY,
    GOLDEN,
    MANIFEST,
    ONNX,
    TEXT_ONNX,
    TEXTS,
    THROUGHPUT,
    TORCHSCRIPT,
)
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.bundle.onnx_file import read_onnx
from pe_deploy.errors import BundleError, errors_as
from pe_deploy.storage import strict_json


def check_part(name: str, data: bytes, manifest: Manifest) -> None:
    """Check a file as far as this needs neither torch nor onnx.

    Raises:
        BundleError: it is malformed or of another export than the manifest, or it is an ONNX graph
            with weights outside itself or weights that are not finite.
    """
    if name in (ONNX, THROUGHPUT, TEXT_ONNX):
        model = read_onnx(data, name)
        model.check_tensors(name)
        if CONFIG_KEY not in model.metadata:
            raise BundleError(
                f"{name} does not say which export it is of: its metadata lacks {CONFIG_KEY}"
            )
        _check_config(name, model.metadata[CONFIG_KEY].encode(), manifest)
    elif name == TORCHSCRIPT:
        # Here, as golden vectors below: zipfile is slow to import, and few apps open these.
        from pe_deploy.bundle.torchscript_file import torchscript_config

        _check_config(name, torchscript_config(data), manifest)
    elif name == GOLDEN:
        from pe_deploy.bundle.golden import golden_from_bytes

        _check_weights(name, golden_from_bytes(data, manifest.signature)[0], manifest)
    elif manifest.text is not None and name in (TEXTS, manifest.text.file):
        from pe_deploy.text.golden import texts_from_bytes
        from pe_deploy.text.opening import open_tokenizer

        with errors_as(BundleError, f"{name}: "):
            if name == TEXTS:
                texts_from_bytes(data, manifest.signature)
            elif manifest.text.kind != "tokenizer.json":  # which its library reads, when opened
                open_tokenizer(manifest.text, data)


def _check_config(name: str, text: bytes, manifest: Manifest) -> None:
    with errors_as(BundleError, f"{name}: {CONFIG_KEY} is not JSON: "):
        config = strict_json.loads(text)
    expected = manifest.config()
    if strict_json.same(config, expected):
        return
    if not isinstance(config, dict) or config.keys() != expected.keys():
        raise BundleError(f"{name}: {CONFIG_KEY} does not hold just {', '.join(expected)}")
    _check_weights(name, config["weights_sha256"], manifest)
    other = next(key for key in expected if not strict_json.same(config[key], expected[key]))
    raise BundleError(f"{name} is of another export: its {other} is not the one in {MANIFEST}")


def _check_weights(name: str, found: Any, manifest: Manifest) -> None:
    if found != manifest.weights_sha256:
        raise BundleError(
            f"{name} is of another export: its weights_sha256 is {str(found)[:64]}, "
            f"in {MANIFEST} {manifest.weights_sha256}"
        )
