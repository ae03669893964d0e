"""The files of a bundle: one table of their names, sizes and roles."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
"""A signature over every other file; no manifest lists it, since it covers the manifest."""
ONNX = "model.onnx"
THROUGHPUT = "model.throughput.onnx"
TORCHSCRIPT = "model.pt"
GOLDEN = "golden.npz"
PARITY = "parity.json"
README = "README.md"
"""Documentation: no manifest lists it (those of older bundles do), and anyone may change it."""

CONFIG_KEY = "pe_deploy.json"
"""The config in each artifact: in `metadata_props` of ONNX, in the extra files of TorchScript."""

MIB = 2**20
_LARGEST_MODEL = 2**31 - 1  # protobuf has no larger message

Kind = Literal["graph", "torchscript", "evidence", "documentation", "manifest", "signature"]


class Artifact(NamedTuple):
    """A kind of file that a bundle may hold.

    Attributes:
        name: of the file.
        kind: what it is for: "graph" is run by onnxruntime, "evidence" proves the bundle again.
        largest: the most bytes that it may have.
        description: what the model card says of it.
    """

    name: str
    kind: Kind
    largest: int
    description: str


ARTIFACTS = {
    artifact.name: artifact
    for artifact in (
        Artifact(MANIFEST, "manifest", MIB, "what the bundle is, and the digest of every file"),
        Artifact(SIGNATURE, "signature", MIB, "a signature over every other file"),
        Artifact(
            ONNX, "graph", _LARGEST_MODEL, "the model for ONNX Runtime, Triton, Node or the browser"
        ),
        Artifact(
            THROUGHPUT,
            "graph",
            _LARGEST_MODEL,
            "the same model as another graph, which is faster for many rows",
        ),
        Artifact(
            TORCHSCRIPT,
            "torchscript",
            _LARGEST_MODEL,
            "the same model for `torch.jit.load`; it is code: load it only if you trust it",
        ),
        Artifact(GOLDEN, "evidence", 256 * MIB, "inputs, and the logits that torch gave for them"),
        Artifact(PARITY, "evidence", 256 * MIB, "how each model was compared with the trained one"),
        Artifact(README, "documentation", MIB, "the model card"),
    )
}
"""In the order in which the model card names them."""

_LARGEST_OTHER = 256 * MIB
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def largest(name: str) -> int:
    """The most bytes that a file of this name may have."""
    return ARTIFACTS[name].largest if name in ARTIFACTS else _LARGEST_OTHER


def may_be_listed(name: str) -> bool:
    """Whether a manifest may list this name: a plain file of the folder, on every system.

    So no separator of any system, no drive, no hidden file, no `..`, no final dot (which Windows
    drops), and not the manifest or its signature, which cannot hold their own digests.
    """
    own = name.lower() in (MANIFEST, SIGNATURE)
    return _PLAIN.fullmatch(name) is not None and not name.endswith(".") and not own
