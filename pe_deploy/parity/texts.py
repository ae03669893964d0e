"""The check `texts`: the way from golden texts to ids, and to logits by the text graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pe_deploy.bundle.artifacts import ONNX, TEXT_ONNX
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import Signature
from pe_deploy.errors import InvalidInputError, PredictionError, line_of
from pe_deploy.parity.report import GOLDEN, Cell
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.text.golden import Encode, GoldenText, first_difference
from pe_deploy.view.progress import expect

TEXTS = "texts"

_ROWS = 64


def text_cells(bundle: Bundle, progress: Callable[[Cell], None] | None = None) -> tuple[Cell, ...]:
    """The tokenizer, and the text graph if there is one, against the golden texts: a cell each.

    Raises:
        BundleError: the bundle holds no golden texts, or no tokenizer that opens.
        MissingDependencyError: the tokenizer needs `tokenizers`, which is not installed.
    """
    golden = bundle.golden_texts()
    expect(progress, 1 + (TEXT_ONNX in bundle.files))
    cells = []
    for cell in _cells(bundle, golden):
        cells.append(cell)
        if progress is not None:
            progress(cell)
    return tuple(cells)


def _cells(bundle: Bundle, golden: Sequence[GoldenText]) -> Iterator[Cell]:
    yield text_cell(bundle.encoder(), golden, bundle.manifest.signature)
    if TEXT_ONNX in bundle.files:
        yield _graph_cell(bundle, [text for text, _ in golden])


def text_cell(encode: Encode, golden: Sequence[GoldenText], signature: Signature) -> Cell:
    """Whether texts give the ids that were recorded for them."""
    problem = first_difference(encode, golden, signature)
    longest = max(len(each.ids or ()) for each in golden)
    error = math.nan if problem else 0.0
    return Cell("tokenizer", GOLDEN, TEXTS, len(golden), longest, error, 0.0, problem or "")


def _graph_cell(bundle: Bundle, texts: Sequence[str]) -> Cell:
    """The text graph on each text, against `model.onnx` on its ids.

    It refuses what the tokenizer refuses, and texts that some binding would cut or change before
    the graph sees them, or that hold very many line breaks; see `export.text_graph`.
    """
    from pe_deploy.runtime.text_graph import text_graph_predictor  # which loads onnxruntime

    signature = bundle.manifest.signature
    answer = text_graph_predictor(bundle.read(TEXT_ONNX), signature)
    on_ids = ENGINES["onnx"].predictor(bundle)
    encode = bundle.encoder("error")  # the graph cuts nothing
    longest, worst, magnitude, problem = 1, 0.0, 0.0, ""
    taken = []
    for text in texts:
        try:
            encode([text])
        except InvalidInputError:
            problem = problem or _answered(answer, text)
        else:
            if "\0" not in text:
                taken.append(text)
    size = 1 if signature.pad_id is None else _ROWS
    for start in range(0, len(taken), size):
        batch = taken[start : start + size]
        ids = encode(batch)
        longest = max(longest, ids.shape[1])
        try:
            # What a token model answers to padding is no answer.
            given, expected = signature.zero_padding(answer(batch), ids), on_ids(ids)
        except PredictionError as error:
            problem = problem or f"fails on {batch[0][:40]!r} or a text near it: {line_of(error)}"
            continue
        worst = max(worst, float(np.abs(given.astype(np.float64) - expected).max()))
        magnitude = max(magnitude, float(np.abs(expected).max()))
    return Cell(
        "text-graph",
        ONNX,
        TEXTS,
        len(texts),
        longest,
        math.nan if problem else worst,
        magnitude,
        problem,
    )


def _answered(answer: Callable[[list[str]], object], text: str) -> str:
    try:
        answer([text])
    except PredictionError:
        return ""
    return f"answers {text[:40]!r}, which the tokenizer refuses"
