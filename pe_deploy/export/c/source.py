"""The form in C: `model.c` and `model.h`, from the graph that is published as `model.onnx`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import onnx

from pe_deploy.config import Label, Signature
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.c.literals import text
from pe_deploy.export.c.reading import read
from pe_deploy.export.c.recurrent import PART
from pe_deploy.export.c.writing import Written, written

DEFAULT_NAME = "model"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MOST_NUMBERS = 2**24
"""Weights and tables: some 200 MB of text, for which a compiler takes gigabytes."""


class CSource(NamedTuple):
    """A model as two files of C11.

    Attributes:
        source: `model.c`.
        header: `model.h`.
    """

    source: str
    header: str


def check_name(name: str) -> None:
    """Raise InvalidInputError unless functions in C may begin with this name."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"c_name is {name!r}; allowed: a letter, then letters, digits and _, all lower case"
        )


def to_c(
    model: onnx.ModelProto,
    signature: Signature,
    labels: Sequence[Label],
    name: str = DEFAULT_NAME,
) -> CSource:
    """Write a graph from `to_onnx` in C.

    Args:
        model: the graph.
        signature: what it takes.
        labels: what its answers are called.
        name: what all names in it begin with.

    Raises:
        ExportError: the model computes what has no form in C; the line names the operator.
        InvalidInputError: the name is none of C's.
    """
    check_name(name)
    logits = read(model, signature)
    made = written(logits, signature)
    if made.numbers > _MOST_NUMBERS:
        raise ExportError(
            f"the form in C of this model has {made.numbers:,} weights; allowed: {_MOST_NUMBERS:,}"
        )
    return CSource(_source(made, signature, labels, name), _header(made, signature, labels, name))


def _kernel(name: str, prefix: str) -> str:
    found = files("pe_deploy.export.c").joinpath("kernels", f"{name}.c").read_text("utf-8")
    return found.replace("@NAME@", prefix.upper()).replace("@name@", prefix)


def _header(made: Written, signature: Signature, labels: Sequence[Label], name: str) -> str:
    upper = name.upper()
    outputs = signature.num_classes
    pad = ""
    if signature.pad_id is not None:
        pad = f"#define {upper}_PAD_ID {signature.pad_id} /* fills short rows, on their right */\n"
    shape = "[rows][length]" if signature.task == "tokens" else "[rows]"
    per = "of a token" if signature.task == "tokens" else "of a row"
    return f"""/* A model by pe_deploy: from ids of tokens to logits, in plain C11. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_VOCAB_SIZE {signature.vocab_size} /* ids are 0 to one less */
#define {upper}_MIN_LENGTH {signature.min_length} /* ids of a row */
#define {upper}_MAX_LENGTH {signature.max_length}
{pad}#define {upper}_OUTPUTS {outputs} /* logits {per} */
#define {upper}_PER_TOKEN {int(signature.task == "tokens")}
#define {upper}_LABEL_COUNT {len(labels)}
#define {upper}_STACK_BYTES {made.stack} /* the most that a call takes, by -O1 to -O3 */

/* What the outputs mean; of one logit, its two sides. */
extern const char *const {name}_labels[{upper}_LABEL_COUNT];

enum {name}_code {{
    {upper}_OK = 0,
    {upper}_SEQUENCE_EMPTY,
    {upper}_SEQUENCE_TOO_LONG,
    {upper}_SEQUENCE_TOO_SHORT,
    {upper}_ID_OUT_OF_RANGE,
    {upper}_PADDING_NOT_ON_THE_RIGHT,
    {upper}_ROW_TOO_SHORT,
    {upper}_NULL_POINTER
}};

/* A code in words. */
const char *{name}_message(int code);

/* Answers ids[rows][length] with logits{shape}[{upper}_OUTPUTS].

   Whatever the ids are, nothing is read or written outside these arrays. Where the answer is not
   {upper}_OK, nothing is written. No rows are answered with nothing. It allocates nothing and keeps
   nothing, so threads may call it at once. */
int {name}_predict(const int64_t *ids, size_t rows, size_t length, float *logits);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _source(made: Written, signature: Signature, labels: Sequence[Label], name: str) -> str:
    upper = name.upper()
    kernels = [_kernel(kernel, name) for kernel in ("vectors", *made.kernels)]
    times = "(length) * " if signature.task == "tokens" else ""
    listed = ",\n    ".join(text(str(label)) for label in labels)
    return "\n".join(
        [
            f"""/* A model by pe_deploy; model.h says how to call it.

   -D{upper}_NO_VECTORS leaves out the compiler's vectors; -D{upper}_MAIN makes a program that reads
   ids from its standard input. Made from a graph: to change the model, export it again. */
#include "model.h"

#define MAX_LENGTH {signature.max_length}
#define BLOCK {made.block} /* rows that are answered at once */
#define TILE {made.tile} /* rows times steps that are worked on at once */
#define PART {PART} /* inputs that a wide layer sums up at once, times its sums */
#define LOGITS(length) ({times}{signature.num_classes}) /* those of a row */
#if defined(__GNUC__) || defined(__clang__)
#define INFINITE __builtin_inff()
#else
#define INFINITE ((float)(1e300 * 1e300))
#endif
""",
            *kernels,
            *made.tables,
            *made.layers,
            made.answer,
            _checks(signature, name),
            f"""const char *const {name}_labels[{upper}_LABEL_COUNT] = {{
    {listed}}};

int {name}_predict(const int64_t *ids, size_t rows, size_t length, float *logits)
{{
    if (rows == 0) return {upper}_OK;
    const int code = checked(ids, rows, length, logits);
    if (code != {upper}_OK) return code;
    for (size_t row = 0; row < rows; row += BLOCK) {{
        const size_t some = rows - row < BLOCK ? rows - row : BLOCK;
        answer(ids + row * length, some, length, logits + row * LOGITS(length));
    }}
    return {upper}_OK;
}}
""",
            _messages(signature, name),
            _kernel("main", name),
        ]
    )


def _checks(signature: Signature, name: str) -> str:
    upper = name.upper()
    shortest = ""
    if signature.min_length > 1:
        shortest = f"    if (length < {signature.min_length}) return {upper}_SEQUENCE_TOO_SHORT;\n"
    padding = ""
    if signature.pad_id is not None:
        padding = f"""    for (size_t row = 0; row < rows; row++, ids += length) {{
        size_t tokens = 0, last = 0;
        for (size_t at = 0; at < length; at++) {{
            if (ids[at] == {upper}_PAD_ID) continue;
            tokens++;
            last = at + 1;
        }}
        if (tokens != last) return {upper}_PADDING_NOT_ON_THE_RIGHT;
        if (tokens < {signature.min_length}) return {upper}_ROW_TOO_SHORT;
    }}
"""
    return f"""/* What is wrong with an input. All of it is seen before anything is written. */
static int checked(const int64_t *ids, size_t rows, size_t length, const float *logits)
{{
    if (ids == NULL || logits == NULL) return {upper}_NULL_POINTER;
    if (length == 0) return {upper}_SEQUENCE_EMPTY;
    if (length > {signature.max_length}) return {upper}_SEQUENCE_TOO_LONG;
{shortest}    uint64_t wrong = 0;
    for (size_t at = 0; at < rows * length; at++)
        wrong |= (uint64_t)((uint64_t)ids[at] >= {signature.vocab_size});
    if (wrong != 0) return {upper}_ID_OUT_OF_RANGE;
{padding}    return {upper}_OK;
}}
"""


def _messages(signature: Signature, name: str) -> str:
    upper, least = name.upper(), signature.min_length
    said = {
        "OK": "answered",
        "SEQUENCE_EMPTY": "a row has no ids",
        "SEQUENCE_TOO_LONG": f"a row has more than {signature.max_length} ids",
        "SEQUENCE_TOO_SHORT": f"a row has fewer than {least} ids",
        "ID_OUT_OF_RANGE": f"an id is outside 0 to {signature.vocab_size - 1}",
        "PADDING_NOT_ON_THE_RIGHT": "padding stands before a token",
        "ROW_TOO_SHORT": f"a row has fewer than {least} tokens before its padding",
        "NULL_POINTER": "ids or logits are NULL",
    }
    cases = "".join(
        f"    case {upper}_{code}: return {text(words)};\n" for code, words in said.items()
    )
    return f"""const char *{name}_message(int code)
{{
    switch (code) {{
{cases}    default: return "no such code";
    }}
}}
"""
