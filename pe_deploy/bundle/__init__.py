"""What a bundle is: its files, its manifest, its golden vectors.

Golden vectors and signing are imported when they are first asked for: few apps need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pe_deploy.bundle.artifacts import (
    ARTIFACTS,
    CONFIG_KEY,
    GOLDEN,
    MANIFEST,
    ONNX,
    PARITY,
    README,
    SIGNATURE,
    THROUGHPUT,
    TORCHSCRIPT,
)
from pe_deploy.bundle.bundle import Bundle, open_bundle, open_parts, write_bundle
from pe_deploy.bundle.manifest import FORMAT, FORMAT_VERSION, Dispatch, FileRecord, Manifest

if TYPE_CHECKING:
    from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes, golden_to_bytes
    from pe_deploy.bundle.signing import Signer, signer

__all__ = [
    "ARTIFACTS",
    "CONFIG_KEY",
    "FORMAT",
    "FORMAT_VERSION",
    "GOLDEN",
    "MANIFEST",
    "ONNX",
    "PARITY",
    "README",
    "SIGNATURE",
    "THROUGHPUT",
    "TORCHSCRIPT",
    "Bundle",
    "Dispatch",
    "FileRecord",
    "GoldenCase",
    "Manifest",
    "Signer",
    "golden_from_bytes",
    "golden_to_bytes",
    "open_bundle",
    "open_parts",
    "signer",
    "write_bundle",
]

_HOMES = {
    "GoldenCase": "golden",
    "Signer": "signing",
    "golden_from_bytes": "golden",
    "golden_to_bytes": "golden",
    "signer": "signing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # found at once the next time
    return value
