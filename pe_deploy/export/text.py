"""What a bundle that takes text needs beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from unicodedata import unidata_version

import onnx

from pe_deploy.bundle.artifacts import TEXTS
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.text_graph import (
    check_has_text_graph,
    check_text_graph_refuses,
    to_text_graph,
)
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.golden import GoldenText, texts_to_bytes
from pe_deploy.text.reading import read_tokenizer
from pe_deploy.text.spec import NFC, Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.text.vocabulary_tokenizer import WordTokenizer


def tokenizer_of(
    given: str | Path | Tokenizer | None, pad_id: int | None, truncation: Truncation | None
) -> Tokenizer | None:
    """A tokenizer as it was given, read where it is in a file.

    Raises:
        InvalidInputError: a truncation without a tokenizer; or as `read_tokenizer` raises it.
        DataError: likewise.
        MissingDependencyError: likewise.
    """
    if given is None and truncation is not None:
        raise InvalidInputError(f"truncation is {truncation!r}; allowed only with a tokenizer")
    if isinstance(given, Tokenizer) and pad_id not in (None, given.pad_id):
        raise InvalidInputError(
            f"pad_id is {pad_id}; allowed: {given.pad_id}, the padding of the tokenizer"
        )
    if given is None or isinstance(given, Tokenizer):
        return given
    return read_tokenizer(given, pad_id=pad_id)


def notes_on_text(encoder: TextEncoder | None) -> list[str]:
    """What was read off a tokenizer, a line each."""
    if encoder is None:
        return []
    made = encoder.tokenizer
    unknown = "an error" if made.unknown_id is None else f"id {made.unknown_id}"
    parts = [f"ids 0 to {made.vocab_size - 1}"]
    if made.kind != "bytes":
        parts.append(f"unknown: {unknown}")
    parts.append("no padding" if made.pad_id is None else f"padding: id {made.pad_id}")
    notes = [f"texts are read as {made.kind}: {', '.join(parts)}"]
    return notes + [f"left out of the tokenizer: {line}" for line in made.left_out]


def text_files(encoder: TextEncoder, golden: Sequence[GoldenText]) -> dict[str, bytes]:
    """The files of a bundle that takes text, by name."""
    file = encoder.spec.file
    own = {} if file is None else {file: encoder.tokenizer.data}
    return {**own, TEXTS: texts_to_bytes(golden)}


def text_versions(encoder: TextEncoder) -> dict[str, str]:
    """What the ids of a text may hang on beside the bundle: the library, and Unicode's tables."""
    if encoder.tokenizer.kind == "tokenizer.json":
        return {"tokenizers": version("tokenizers")}
    return {"unicode": unidata_version} if NFC in encoder.tokenizer.normalizer else {}


def example_text(golden: Sequence[GoldenText]) -> str:
    """The first text that the model takes and a page can show; empty where there is none."""
    taken = (text for text, ids in golden if ids is not None)
    return next((text for text in taken if text.strip() and text.isprintable()), "")


def check_takes_graph(encoder: TextEncoder | None) -> None:
    """Check that there can be a text graph, before any work.

    Raises:
        ExportError: there is no tokenizer, or one that standard operators cannot be.
    """
    if encoder is None:
        raise ExportError("a text graph needs a tokenizer; state one of words")
    check_has_text_graph(encoder.spec.kind, encoder.spec.normalizer)


def text_graph(model: onnx.ModelProto, encoder: TextEncoder) -> bytes:
    """The bytes of `model.text.onnx`, which refuses what no model takes.

    Raises:
        ExportError: it cannot be made, or answers what is to be refused.
    """
    made = encoder.tokenizer
    if not isinstance(made, WordTokenizer):
        raise ExportError(f"the kind {made.kind} has no text graph; allowed: words")
    graph = to_text_graph(model, encoder.signature, made.entries, unknown_id=made.unknown_id)
    data = graph.SerializeToString(deterministic=True)
    check_text_graph_refuses(data, encoder.signature, made.entries, unknown_id=made.unknown_id)
    return bytes(data)
