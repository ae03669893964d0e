"""The files of a bundle: their names, what they are, and the most bytes that each may have."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
"""A signature over every other file; no manifest lists it, since it covers the manifest."""
ONNX = "model.onnx"
THROUGHPUT = "model.throughput.onnx"
TEXT_ONNX = "model.text.onnx"
TORCHSCRIPT = "model.pt"
C_SOURCE = "model.c"
C_HEADER = "model.h"
GOLDEN = "golden.npz"
TEXTS = "golden.texts.json"
PARITY = "parity.json"
TOKENIZERS = ("vocab.txt", "tokenizer.json")
"""What a bundle that takes text holds one of, unless its ids are the bytes themselves."""

README = "README.md"
"""Documentation: no manifest lists it (those of older bundles do), and anyone may change it."""

CONFIG_KEY = "pe_deploy.json"
"""The config in each artifact: in `metadata_props` of ONNX, in the extra files of TorchScript."""

MIB = 2**20

MODELS = {
    ONNX: "the model for ONNX Runtime, Triton, Node or the browser",
    THROUGHPUT: "the same model as another graph, which is faster for many rows",
    TEXT_ONNX: "the same model behind the lookup of its words: texts in, logits out",
    TORCHSCRIPT: "the same model for `torch.jit.load`; it is code: load it only if you trust it",
    C_SOURCE: "the same model in C11; it is code: compile it only if you trust it",
    C_HEADER: "what a program includes to call `model.c`: its functions, limits and labels",
}
"""What the model card says of each file that holds the model; `runtime.engines` runs them."""

_LARGEST = {
    **dict.fromkeys((MANIFEST, SIGNATURE, README), MIB),
    **dict.fromkeys(MODELS, 2**31 - 1),  # protobuf has no larger message
}
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def largest(name: str) -> int:
    """The most bytes that a file of this name may have."""
    return _LARGEST.get(name, 256 * MIB)


def may_be_listed(name: str) -> bool:
    """Whether a manifest may list this name: a plain file of the folder, on every system.

    So no separator of any system, no drive, no hidden file, no `..`, no final dot (which Windows
    drops), and not the manifest or its signature, which cannot hold their own digests.
    """
    own = name.lower() in (MANIFEST, SIGNATURE)
    return _PLAIN.fullmatch(name) is not None and not name.endswith(".") and not own
