"""Faults on the way from texts to ids: those that front ends and libraries are known to have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import InvalidInputError, ParityError
from pe_deploy.mutation.outcomes import TOKENIZER, Outcome
from pe_deploy.parity.texts import TEXTS, text_cell
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.golden import Encode, GoldenText
from pe_deploy.text.json_tokenizer import JsonTokenizer
from pe_deploy.text.probes import longest_text, variants
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.text.vocabulary_tokenizer import VocabularyTokenizer

Ids = NDArray[np.int64]


class TextFault(NamedTuple):
    """A fault by name, and what plants it: a faulty encoder, or why there is none."""

    name: str
    plant: Callable[[TextEncoder, list[GoldenText]], Encode | str]


def text_outcomes(bundle: Bundle) -> Iterator[Outcome]:
    """What becomes of each fault in a bundle that takes text; nothing of another.

    Raises:
        ParityError: the tokenizer fails its check before any fault is planted.
    """
    if bundle.manifest.text is None:
        return
    encoder, golden = bundle.encoder(), bundle.golden_texts()
    signature = bundle.manifest.signature
    if problem := text_cell(encoder, golden, signature).problem:
        raise ParityError(
            f"{bundle.path} fails ({TEXTS}) before any fault is planted: {problem}; a self-test "
            "needs a bundle that passes"
        )
    for fault in TEXT_FAULTS:
        faulty = fault.plant(encoder, golden)
        if not isinstance(faulty, str) and not _changes(encoder, faulty):
            faulty = "it changes no token of this vocabulary, in any case or form"
        if isinstance(faulty, str):
            yield Outcome(fault.name, TOKENIZER, planted=False, note=faulty)
            continue
        caught = text_cell(faulty, golden, signature).problem
        note = "" if caught else "every golden text gives the ids that were recorded"
        yield Outcome(fault.name, TOKENIZER, (TEXTS,) if caught else (), note=note)


def _changes(good: TextEncoder, faulty: Encode) -> bool:
    """Whether some text is encoded otherwise: any that uses the vocabulary, in any form."""
    known = [token for token in good.tokenizer.vocabulary() if token.strip()]
    first = next(iter(known), "a")
    forms = chain(known, variants(known), variants([f"{first} b"]))
    long = longest_text(good)
    several = ([long[: len(long) // 2], long], [f"{long} {first}b"])
    tried = chain(several, ([f"{first} {form}"] for form in forms))
    return any(_answer(good, texts) != _answer(faulty, texts) for texts in tried)


def _answer(encode: Encode, texts: list[str]) -> list[list[int]] | None:
    try:
        rows: list[list[int]] = encode(texts).tolist()
    except InvalidInputError:
        return None
    return rows


def _lost_normaliser(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    made = good.tokenizer
    bare: Tokenizer | None = None
    if isinstance(made, JsonTokenizer):
        values = {**json.loads(made.data), "normalizer": None}
        bare = JsonTokenizer(json.dumps(values).encode(), made.pad_id)
    elif isinstance(made, VocabularyTokenizer):
        bare = type(made)(made.entries, made.pad_id, made.unknown_id)
    if bare is None or not made.normalizer:
        return "the tokenizer has no normaliser"
    return TextEncoder(bare, good.signature, good.truncation)


def _lower_caser(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    return lambda texts: good([text.lower() for text in texts])


def _unicode_space(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    if good.tokenizer.kind != "words":
        return "only words are split at white space"
    return lambda texts: good([" ".join(text.split()) for text in texts])


def _another_truncation(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    return TextEncoder(
        good.tokenizer, good.signature, "start" if good.truncation == "end" else "end"
    )


def _shorter(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    if good.signature.max_length <= max(good.signature.min_length, good.tokenizer.around) + 1:
        return "rows have too few ids"

    def encode(texts: list[str]) -> Ids:
        return good(texts)[:, : good.signature.max_length - 1]

    return encode


def _padding_on_the_left(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    pad_id = good.signature.pad_id
    if pad_id is None:
        return "the model takes no padding"

    def encode(texts: list[str]) -> Ids:
        rows = good(texts)
        return np.stack([np.roll(row, int((row == pad_id).sum())) for row in rows])

    return encode


def _two_ids_exchanged(good: TextEncoder, golden: list[GoldenText]) -> Encode | str:
    """The two that stand in the fewest golden texts."""
    counts = Counter(chain.from_iterable(set(ids or ()) for _, ids in golden))
    rare = [one for one, _ in counts.most_common()[:-3:-1]]
    if len(rare) < 2:
        return "the golden texts have fewer than two ids"
    table = np.arange(good.signature.vocab_size)
    table[rare] = rare[::-1]
    return lambda texts: table[good(texts)]


def _off_by_one(good: TextEncoder, _: list[GoldenText]) -> Encode | str:
    pad_id = good.signature.pad_id

    def encode(texts: list[str]) -> Ids:
        rows = good(texts)
        return np.where(rows == pad_id, rows, (rows + 1) % good.signature.vocab_size)

    return encode


TEXT_FAULTS: tuple[TextFault, ...] = (
    TextFault("a lost normaliser", _lost_normaliser),
    TextFault("a lower-caser", _lower_caser),
    TextFault("split at Unicode's white space", _unicode_space),
    TextFault("another truncation", _another_truncation),
    TextFault("texts cut one id sooner", _shorter),
    TextFault("padding on the left", _padding_on_the_left),
    TextFault("two ids exchanged", _two_ids_exchanged),
    TextFault("ids off by one", _off_by_one),
)
