"""The files of a bundle by name, and the largest that each may be."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
"""A signature over every other file; no manifest lists it, since it covers the manifest."""
ONNX = "model.onnx"
THROUGHPUT = "model.throughput.onnx"
TORCHSCRIPT = "model.pt"
GOLDEN = "golden.npz"
PARITY = "parity.json"
README = "README.md"

CONFIG_KEY = "pe_deploy.json"
"""The config in each artifact: in `metadata_props` of ONNX, in the extra files of TorchScript."""

MIB = 2**20

LARGEST = {
    MANIFEST: MIB,
    SIGNATURE: MIB,
    README: MIB,
    ONNX: 2**31 - 1,  # protobuf has no larger message
    THROUGHPUT: 2**31 - 1,
    TORCHSCRIPT: 2**31 - 1,
}
LARGEST_OTHER = 256 * MIB

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def largest(name: str) -> int:
    """The most bytes that a file of this name may have."""
    return LARGEST.get(name, LARGEST_OTHER)


def may_be_listed(name: str) -> bool:
    """Whether a manifest may list this name: a plain file of the folder, on every system.

    So no separator of any system, no drive, no hidden file, no `..`, no final dot (which Windows
    drops), and not the manifest or its signature, which cannot hold their own digests.
    """
    own = name.lower() in (MANIFEST, SIGNATURE)
    return _PLAIN.fullmatch(name) is not None and not name.endswith(".") and not own
