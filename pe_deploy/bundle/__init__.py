"""What a bundle is: its files, its manifest, its golden vectors."""

from pe_deploy.bundle.artifacts import (
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
from pe_deploy.bundle.bundle import Bundle, open_bundle, write_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes, golden_to_bytes
from pe_deploy.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    Dispatch,
    FileRecord,
    Manifest,
)
from pe_deploy.bundle.signing import Signer, signer

__all__ = [
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
    "signer",
    "write_bundle",
]
