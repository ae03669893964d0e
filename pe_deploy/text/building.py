"""A vocabulary of the texts that a model is to be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from pe_deploy.errors import InvalidInputError
from pe_deploy.text.byte_tokenizer import VOCAB_SIZE, ByteTokenizer
from pe_deploy.text.spec import Kind
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.text.vocabulary_tokenizer import CharacterTokenizer, WordTokenizer

PADDING, UNKNOWN = "[PAD]", "[UNK]"


def build_tokenizer(
    kind: Kind,
    texts: Sequence[str],
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
    normalizer: tuple[str, ...] = (),
) -> Tokenizer:
    """Make a tokenizer whose vocabulary are the commonest tokens of some texts.

    The padding is id 0 and the unknown token id 1; then come the others, the commonest first, and
    of those as common as each other the one whose code points come first: the same texts in any
    order give the same ids.

    Args:
        kind: bytes, words or characters.
        texts: those to train on, and no others.
        vocab_size: the most ids, padding and unknown token included.
        min_count: how often a token has to stand in the texts.
        normalizer: some of `NORMALIZERS`.

    Raises:
        InvalidInputError: a size is out of range, the kind has no vocabulary to build, or no token
            is as common as that.
    """
    if kind == "bytes":
        if vocab_size not in (None, VOCAB_SIZE) or min_count != 1 or normalizer:
            raise InvalidInputError(
                "bytes have no vocabulary to choose and no normalizer; leave out vocab_size, "
                "min_count and the like"
            )
        return ByteTokenizer()
    if kind not in ("words", "characters"):
        raise InvalidInputError(f"kind is {kind!r}; allowed: bytes, words, characters")
    if vocab_size is not None and vocab_size < 3:
        raise InvalidInputError(f"vocab_size is {vocab_size}; allowed: 3 or more")
    if min_count < 1:
        raise InvalidInputError(f"min_count is {min_count}; allowed: 1 or more")
    made = WordTokenizer if kind == "words" else CharacterTokenizer
    plain = made([PADDING, UNKNOWN], 0, 1, normalizer)
    counts = Counter(chain.from_iterable(map(plain.split, texts)))
    for name in (PADDING, UNKNOWN):
        counts.pop(name, None)  # a text that says so is not one of these
    common = [token for token, count in counts.items() if count >= min_count]
    common.sort(key=lambda token: (-counts[token], token))
    if not common:
        raise InvalidInputError(
            f"no {plain.unit} of the {len(texts)} texts stand there {min_count} times or more"
        )
    kept = common if vocab_size is None else common[: vocab_size - 2]
    return made([PADDING, UNKNOWN, *kept], 0, 1, normalizer)
