"""The texts that a tokenizer is tried on: what tokenizers differ on, and each of its own ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from pe_deploy.text.encoder import TextEncoder
    from pe_deploy.text.tokenizer import Tokenizer

PROBES: tuple[str, ...] = (
    *("", " ", "\t\n\r ", "\0", "a\0b", "\ufeffa", "a\ufeff", "a\u0085b", "a\u00a0b", "a\u2028b"),
    *("a", "A", " a ", "a  b", "a\tb\nc\r\nd", "\x1c\x1d\x1e\x1f", "a\u3000b", "a\u200bb"),
    *("é", "e\u0301", "É", "E\u0301", "ﬁ ﬂ", "ß ẞ İ ı ſ", "Σας ΣΑΣ ς", "ａｂｃ １２３", "²³ ½ Å"),
    *("한국어", "\u1112\u1161\u11ab", "日本語 中文", "ไทย", "हिन्दी", "العربية ١٢٣", "שלום עולם"),
    *("🙂", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "\U0010ffff", "a" * 200, "🙂" * 50, "word " * 60),
    *("[PAD]", "[UNK]", "[CLS] [SEP] [MASK]", "<pad>", "<unk>", "<s></s>", "[pad]", "##a", "Ġa"),
    *("Don't stop-me, now!", "1,234.56 €", "https://example.org/a?b=c", "user@example.org"),
    *("The quick brown fox jumps over the lazy dog.", "THE QUICK BROWN FOX", "ÄÖÜ äöü", "Ⅷ ⅷ"),
    *("$£€", "“quoted”", "a_b-c.d", "\\n\\t", "\x7f\x80", "x\u0300\u0301\u0302", "…", "--", "'"),
)
"""What tokenizers are known to differ on: white space, NUL, byte order marks, composed and
decomposed letters, case, other scripts and directions, emoji, the names of special tokens."""

ODD_SPACES = (
    "\t",
    "\n",
    "\x0b",
    "\x0c",
    "\r",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3000",
    "\ufeff",
)
"""White space to some: to Python, to JavaScript, to onnxruntime, or to Unicode."""

_MOST_REAL = 512
_MOST_VARIED = 30
_MOST_IDS = 50_000
_AFFIXES = ("{}", "a {}", "{}a", *(f"{before}{{}}" for before in "aqzjvx0_-'\"("))
"""What a piece of a word may need beside it."""
_UNKNOWN = "\U0010fffd"  # of private use: hardly in any vocabulary


def texts_to_try(encoder: TextEncoder, real: Iterable[str] = ()) -> list[str]:
    """Real texts, the probes, and texts that together give every id that a text can give.

    The latter for a vocabulary of up to 50,000 ids. Each text once, in this order.
    """
    tokenizer = encoder.tokenizer
    long = "".join(islice(_endless(tokenizer), 2 * encoder.signature.max_length))
    cover = covering(encoder)
    made_up = [longest_text(encoder), long, *cover, *variants(cover[:_MOST_VARIED])]
    return list(dict.fromkeys([*islice(real, _MOST_REAL), *PROBES, *made_up]))


def longest_text(encoder: TextEncoder) -> str:
    """A text of as many tokens as the model takes, where one token can be said again and again."""
    tokenizer = encoder.tokenizer
    between = _between(tokenizer)
    number = encoder.signature.max_length - tokenizer.around
    known = (between.join([token] * number) for token in tokenizer.vocabulary() if token.strip())
    fitting = (text for text in known if _length_of(tokenizer, text) == number + tokenizer.around)
    return next(fitting, "a")


def covering(encoder: TextEncoder) -> list[str]:
    """Texts that together give each id of the vocabulary that some text gives."""
    tokenizer = encoder.tokenizer
    if tokenizer.vocab_size > _MOST_IDS:
        return []
    missing = set(range(tokenizer.vocab_size))
    alone: list[str] = []
    for at, token in enumerate(tokenizer.vocabulary()):
        if at not in missing or not token:
            continue
        for affix in _AFFIXES:
            given = _ids_of(tokenizer, text := affix.format(token))
            if at in given:
                missing -= given
                alone.append(text)
                break
    return [*_joined(encoder, alone), f"{alone[0]} {_UNKNOWN}" if alone else _UNKNOWN]


def variants(texts: Iterable[str]) -> Iterator[str]:
    """Texts in another case, decomposed, and with other white space: what normalisers act on."""
    for text in texts:
        yield from (text.upper(), text.title(), unicodedata.normalize("NFD", text))
        first, _, rest = text.partition(" ")
        if rest:
            yield from (f"{first} {text.replace(' ', odd)}" for odd in ODD_SPACES)


def _joined(encoder: TextEncoder, texts: Sequence[str]) -> Iterator[str]:
    """The texts, several in one as long as that is taken and gives the same ids as they alone."""
    tokenizer = encoder.tokenizer
    room = encoder.signature.max_length - tokenizer.around
    group, count = list[str](), 0
    for text in texts:
        length = _length_of(tokenizer, text) - tokenizer.around
        if group and count + length > room:
            yield from _whole(encoder, group)
            group, count = [], 0
        group.append(text)
        count += length
    if group:
        yield from _whole(encoder, group)


def _whole(encoder: TextEncoder, group: Sequence[str]) -> Iterator[str]:
    """The group in one text, or in as many as it takes for none to be cut or read otherwise."""
    tokenizer = encoder.tokenizer
    between = _between(tokenizer)
    together = between.join(group)
    wanted = set[int]().union(*(_ids_of(tokenizer, text) for text in group))
    fits = _length_of(tokenizer, together) <= encoder.signature.max_length
    if len(group) == 1 or (fits and wanted <= _ids_of(tokenizer, together)):
        yield together
        return
    half = len(group) // 2
    yield from _whole(encoder, group[:half])
    yield from _whole(encoder, group[half:])


def _length_of(tokenizer: Tokenizer, text: str) -> int:
    try:
        return sum(tokenizer.tokens([text]).lengths)
    except InvalidInputError:
        return 0


def _ids_of(tokenizer: Tokenizer, text: str) -> set[int]:
    try:
        return set(tokenizer.tokens([text]).ids.tolist())
    except InvalidInputError:
        return set()


def _endless(tokenizer: Tokenizer) -> Iterator[str]:
    """Tokens of the vocabulary, again and again, with a blank behind each."""
    known = [token for token in tokenizer.vocabulary() if token.strip()][:1000] or ["a"]
    while True:
        for token in known:
            yield f"{token} "


def _between(tokenizer: Tokenizer) -> str:
    """What keeps two texts apart in one: nothing, where a blank would be a token itself."""
    return "" if tokenizer.kind in ("bytes", "characters") else " "
