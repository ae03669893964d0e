"""What a bundle is: its files, its manifest, its golden vectors."""

from pe_deploy.bundle.files import (
    GOLDEN,
    MANIFEST,
    ONNX,
    PARITY,
    README,
    TORCHSCRIPT,
    Bundle,
    open_bundle,
    write_bundle,
)
from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes, golden_to_bytes
from pe_deploy.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    FileRecord,
    Manifest,
)

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "GOLDEN",
    "MANIFEST",
    "ONNX",
    "PARITY",
    "README",
    "TORCHSCRIPT",
    "Bundle",
    "FileRecord",
    "GoldenCase",
    "Manifest",
    "golden_from_bytes",
    "golden_to_bytes",
    "open_bundle",
    "write_bundle",
]
