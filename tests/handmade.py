"""A bundle around a model in C that was written by hand: the mean of embeddings, and a line.

It needs no torch and no export. With a `pad_id` the mean is of the tokens alone; a model of tokens
adds the mean to each token's own embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE, GOLDEN, TEXTS
from pe_deploy.bundle.bundle import open_bundle, write_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_to_bytes
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.config import Decision, Signature
from pe_deploy.storage.digest import sha256

PLAIN = Signature(vocab_size=12, max_length=10)
PADDED = Signature(vocab_size=20, max_length=12, num_classes=3, pad_id=0, min_length=2)
TOKENS = Signature(vocab_size=20, max_length=12, num_classes=3, pad_id=0, task="tokens")
SIGNATURES = {"plain": PLAIN, "padded": PADDED, "tokens": TOKENS}

DIM = 4

_HEADER = """#ifndef {n}_H
#define {n}_H
#include <stddef.h>
#include <stdint.h>
#define {n}_VOCAB_SIZE {vocab_size}
#define {n}_MIN_LENGTH {min_length}
#define {n}_MAX_LENGTH {max_length}
{pad}
#define {n}_OUTPUTS {outputs}
#define {n}_PER_TOKEN {per_token}
#define {n}_LABEL_COUNT {label_count}
#define {n}_STACK_BYTES 256
extern const char *const {name}_labels[{n}_LABEL_COUNT];
enum {{{n}_OK = 0, {n}_SEQUENCE_EMPTY, {n}_SEQUENCE_TOO_LONG, {n}_SEQUENCE_TOO_SHORT,
      {n}_ID_OUT_OF_RANGE, {n}_PADDING_NOT_ON_THE_RIGHT, {n}_ROW_TOO_SHORT, {n}_NULL_POINTER}};
const char *{name}_message(int code);
int {name}_predict(const int64_t *ids, size_t rows, size_t length, float *logits);
#endif
"""

_SOURCE = """#include "model.h"
#define DIM {dim}
static const float embedding[{n}_VOCAB_SIZE][DIM] = {{{embedding}}};
static const float weight[{n}_OUTPUTS][DIM] = {{{weight}}};
static const float bias[{n}_OUTPUTS] = {{{bias}}};
const char *const {name}_labels[{n}_LABEL_COUNT] = {{{labels}}};
static const char *const messages[] = {{
    "an answer", "the sequence is empty", "the sequence is too long", "the sequence is too short",
    "an id is out of range", "padding is not on the right", "a row is too short",
    "a pointer is null"}};

const char *{name}_message(int code) {{
    return code < 0 || code > {n}_NULL_POINTER ? "an unknown code" : messages[code];
}}

static int check(const int64_t *ids, size_t rows, size_t length) {{
    for (size_t row = 0; row < rows; ++row) {{
        size_t tokens = length;
        for (size_t at = 0; at < length; ++at) {{
            const int64_t id = ids[row * length + at];
            if (id < 0 || id >= {n}_VOCAB_SIZE) return {n}_ID_OUT_OF_RANGE;
#ifdef {n}_PAD_ID
            if (id == {n}_PAD_ID) {{
                if (tokens == length) tokens = at;
            }} else if (tokens != length) return {n}_PADDING_NOT_ON_THE_RIGHT;
#endif
        }}
        if (tokens == 0) return {n}_PADDING_NOT_ON_THE_RIGHT;
        if (tokens < {n}_MIN_LENGTH) return {n}_ROW_TOO_SHORT;
    }}
    return {n}_OK;
}}

static void answer(const float *state, float *logits) {{
    for (size_t output = 0; output < {n}_OUTPUTS; ++output) {{
        float sum = bias[output];
        for (size_t i = 0; i < DIM; ++i) sum += weight[output][i] * state[i];
        logits[output] = sum;
    }}
}}

int {name}_predict(const int64_t *ids, size_t rows, size_t length, float *logits) {{
    if (rows == 0) return {n}_OK;
    if (length == 0) return {n}_SEQUENCE_EMPTY;
    if (length > {n}_MAX_LENGTH) return {n}_SEQUENCE_TOO_LONG;
    if (length < {n}_MIN_LENGTH) return {n}_SEQUENCE_TOO_SHORT;
    if (!ids || !logits) return {n}_NULL_POINTER;
    const int code = check(ids, rows, length);
    if (code) return code;
    for (size_t row = 0; row < rows; ++row, ids += length) {{
        float mean[DIM] = {{0}};
        size_t tokens = length;
#ifdef {n}_PAD_ID
        while (ids[tokens - 1] == {n}_PAD_ID) --tokens;
#endif
        for (size_t at = 0; at < tokens; ++at)
            for (size_t i = 0; i < DIM; ++i) mean[i] += embedding[ids[at]][i] / (float)tokens;
#if {n}_PER_TOKEN
        for (size_t at = 0; at < length; ++at, logits += {n}_OUTPUTS) {{
            float state[DIM];
            for (size_t i = 0; i < DIM; ++i) state[i] = mean[i] + embedding[ids[at]][i];
            answer(state, logits);
        }}
#else
        answer(mean, logits);
        logits += {n}_OUTPUTS;
#endif
    }}
    return {n}_OK;
}}
#ifdef {n}_MAIN
#include <stdio.h>
#include <stdlib.h>
int main(void) {{
    static char line[65536];
    while (fgets(line, sizeof line, stdin)) {{
        int64_t ids[{n}_MAX_LENGTH + 1];
        float logits[{n}_OUTPUTS * {n}_MAX_LENGTH];
        size_t length = 0;
        char *rest = line;
        for (;; ++length) {{
            char *end;
            const long long id = strtoll(rest, &end, 10);
            if (end == rest) break;
            if (length <= {n}_MAX_LENGTH) ids[length] = (int64_t)id;
            rest = end;
        }}
        const int code = {name}_predict(ids, 1, length, logits);
        if (code) {{
            fprintf(stderr, "%s\\n", {name}_message(code));
            return 1;
        }}
        const size_t count = {n}_OUTPUTS * ({n}_PER_TOKEN ? length : 1);
        for (size_t i = 0; i < count; ++i)
            printf(i + 1 < count ? "%.9g " : "%.9g\\n", (double)logits[i]);
    }}
    return 0;
}}
#endif
"""


def handmade(
    folder: Path,
    signature: Signature = PLAIN,
    *,
    name: str = "model",
    seed: int = 0,
    like: Path | None = None,
) -> Path:
    """Write such a bundle into a new folder, and return that.

    Args:
        folder: the bundle.
        signature: of the model.
        name: what begins the names of its functions.
        seed: of its weights.
        like: a bundle that takes text; the new one has its signature and takes the same.
    """
    texts: dict[str, bytes] = {}
    spec = None
    if like is not None:
        opened = open_bundle(like)
        signature, spec = opened.manifest.signature, opened.manifest.text
        assert spec is not None
        texts = {name: opened.read(name) for name in (TEXTS, spec.file) if name}
    numbers = np.random.default_rng(seed)
    outputs = signature.num_classes
    embedding, weight, bias = (
        numbers.normal(size=shape).astype(np.float32)
        for shape in ((signature.vocab_size, DIM), (outputs, DIM), (outputs,))
    )
    labels = tuple(f"label {number}" for number in range(signature.num_labels))
    n = name.upper()
    how = {
        "n": n,
        "name": name,
        "dim": DIM,
        "outputs": outputs,
        "vocab_size": signature.vocab_size,
        "label_count": len(labels),
        "min_length": signature.min_length,
        "max_length": signature.max_length,
        "per_token": int(signature.task == "tokens"),
        "pad": "" if signature.pad_id is None else f"#define {n}_PAD_ID {signature.pad_id}",
        "embedding": ", ".join(f"{{{_floats(row)}}}" for row in embedding),
        "weight": ", ".join(f"{{{_floats(row)}}}" for row in weight),
        "bias": _floats(bias),
        "labels": ", ".join(f'"{label}"' for label in labels),
    }
    decision = Decision(labels, 0.5 if len(labels) == 2 else None, signature.task)
    golden = []
    for ids in _inputs(signature, numbers):
        exact, rounded = (
            _logits(signature, ids, *(part.astype(kind) for part in (embedding, weight, bias)))
            for kind in (np.float64, np.float32)
        )
        golden.append(GoldenCase(ids, exact, rounded, decision.recorded(exact)))
    weights = sha256(b"".join(part.tobytes() for part in (embedding, weight, bias)))
    manifest = Manifest(signature, labels, decision.threshold, weights, text=spec)
    files = {
        **texts,
        C_SOURCE: _SOURCE.format(**how).encode(),
        C_HEADER: _HEADER.format(**how).encode(),
        GOLDEN: golden_to_bytes(golden, weights),
    }
    folder.mkdir(parents=True)
    write_bundle(folder, manifest, files)
    return folder


def _floats(values: Iterable[np.float32]) -> str:
    return ", ".join(f"{float(value):.9g}f" if value % 1 else f"{value:.1f}f" for value in values)


def _inputs(signature: Signature, numbers: np.random.Generator) -> list[NDArray[np.int64]]:
    found = []
    tokens = [each for each in range(signature.vocab_size) if each != signature.pad_id]
    for rows, length in ((1, signature.max_length), (3, signature.min_length), (19, 7)):
        ids = numbers.choice(tokens, (rows, length))
        if signature.pad_id is not None and rows > 1:
            ids[1, signature.min_length :] = signature.pad_id
        found.append(ids)
    return found


def _logits(
    signature: Signature, ids: NDArray[np.int64], embedding: Any, weight: Any, bias: Any
) -> Any:
    tokens = signature.is_token(ids)[..., None]
    states = embedding[ids]
    mean = (states * tokens).sum(1) / tokens.sum(1).astype(embedding.dtype)
    if signature.task == "tokens":
        states = states + mean[:, None]
        return signature.zero_padding(states @ weight.T + bias, ids)
    logits = mean @ weight.T + bias
    return logits[:, 0] if signature.num_classes == 1 else logits
