"""`golden.texts.json`: texts and the ids that they gave, so that any change of the way is seen.

Golden logits begin at the ids: they do not see that two rare words are exchanged, or that another
version of a library cuts a text elsewhere. These do.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pe_deploy.errors import InvalidInputError
from pe_deploy.storage import strict_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.config import Signature
    from pe_deploy.text.encoder import TextEncoder
    from pe_deploy.text.tokenizer import Tokenizer

Encode = Callable[[list[str]], "NDArray[np.int64]"]
"""From texts to rows of ids, right-padded."""

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
_BATCH = 64
_AFFIXES = ("{}", "a {}", "{}a", *(f"{before}{{}}" for before in "aqzjvx0_-'\"("))
"""What a piece of a word may need beside it."""
_UNKNOWN = "\U0010fffd"  # of private use: hardly in any vocabulary


class GoldenText(NamedTuple):
    """A text, and the ids that it gave; None where it is refused."""

    text: str
    ids: tuple[int, ...] | None


def golden_texts(encoder: TextEncoder, real: Iterable[str] = ()) -> list[GoldenText]:
    """Real texts, the probes, and texts that together give every id that a text can give.

    The latter for a vocabulary of up to 50,000 ids. Each is encoded alone.

    Raises:
        InvalidInputError: no text gives ids.
    """
    tokenizer = encoder.tokenizer
    most = encoder.signature.max_length
    long = "".join(islice(_endless(tokenizer), 2 * most))
    cover = covering(encoder)
    made_up = [longest_text(encoder), long, *cover, *variants(cover[:_MOST_VARIED])]
    texts = [*islice(real, _MOST_REAL), *PROBES, *made_up]
    made = [_recorded(encoder, text) for text in dict.fromkeys(texts)]
    if all(each.ids is None for each in made):
        raise InvalidInputError(
            "the tokenizer gives no ids for any text that was tried; allowed: one whose "
            "vocabulary holds tokens that a text may hold"
        )
    return made


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


def longest_text(encoder: TextEncoder) -> str:
    """A text of as many tokens as the model takes, where one token can be said again and again."""
    tokenizer = encoder.tokenizer
    between = "" if tokenizer.kind in ("bytes", "characters") else " "
    number = encoder.signature.max_length - tokenizer.around
    known = (between.join([token] * number) for token in tokenizer.vocabulary() if token.strip())
    fitting = (text for text in known if _length_of(tokenizer, text) == number + tokenizer.around)
    return next(fitting, "a")


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
    between = "" if tokenizer.kind in ("bytes", "characters") else " "
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


def _recorded(encoder: TextEncoder, text: str) -> GoldenText:
    try:
        return GoldenText(text, tuple(encoder([text])[0].tolist()))
    except InvalidInputError:
        return GoldenText(text, None)


def first_difference(
    encode: Encode, golden: Sequence[GoldenText], signature: Signature
) -> str | None:
    """What is encoded otherwise than it was recorded, in a line; None where nothing is.

    Texts that gave ids are encoded in batches, whose shorter rows are padded on the right; those
    that were refused one by one.
    """
    taken = [each for each in golden if each.ids is not None]
    size = 1 if signature.pad_id is None else _BATCH
    for start in range(0, len(taken), size):
        if found := _difference_in(encode, taken[start : start + size], signature.pad_id or 0):
            return found
    for text, ids in golden:
        if ids is None:
            try:
                given = encode([text])
            except InvalidInputError:
                continue
            return f"text {_shown(text)} gives ids {_few(given[0].tolist())}; it was refused"
    return None


def _difference_in(encode: Encode, batch: Sequence[GoldenText], pad_id: int) -> str | None:
    try:
        given = encode([each.text for each in batch])
    except InvalidInputError as error:
        return f"text {_shown(batch[error.row or 0].text)} is refused: {error.reason}"
    longest = max(len(ids or ()) for _, ids in batch)
    expected = np.full((len(batch), longest), pad_id, np.int64)
    for row, (_, ids) in enumerate(batch):
        expected[row, : len(ids or ())] = ids or ()
    if given.shape == expected.shape and (given == expected).all():
        return None
    for row, (text, ids) in enumerate(batch):
        if row >= len(given) or given[row].tolist() != expected[row].tolist():
            found = given[row].tolist() if row < len(given) else []
            return f"text {_shown(text)} gives ids {_few(found)}; recorded: {_few(ids or ())}"
    return f"{len(batch)} texts give ids of shape {list(given.shape)}"


def texts_to_bytes(golden: Sequence[GoldenText]) -> bytes:
    """The bytes of `golden.texts.json`, a line a text."""
    lines = (json.dumps([text, ids], ensure_ascii=False) for text, ids in golden)
    return ('{"texts": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def texts_from_bytes(data: bytes, signature: Signature) -> list[GoldenText]:
    """Read `golden.texts.json`.

    Raises:
        ValueError: it is no JSON of texts, each with its ids or null, or the ids are not of rows
            that the model takes.
    """
    values = strict_json.loads(data)
    if not isinstance(values, dict) or not isinstance(texts := values.get("texts"), list):
        raise ValueError("it holds no list of texts")
    golden = []
    for number, each in enumerate(texts):
        if not isinstance(each, list) or len(each) != 2 or type(each[0]) is not str:
            raise ValueError(f"entry {number} is no text with its ids")
        text, ids = each
        if ids is not None and not _are_ids(ids, signature):
            raise ValueError(f"the ids of entry {number} are not a row that the model takes")
        golden.append(GoldenText(text, None if ids is None else tuple(ids)))
    if all(ids is None for _, ids in golden):
        raise ValueError("no text in it has ids")
    return golden


def _are_ids(ids: object, signature: Signature) -> bool:
    return (
        type(ids) is list
        and signature.min_length <= len(ids) <= signature.max_length
        and all(type(one) is int and 0 <= one < signature.vocab_size for one in ids)
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _few(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:12]))
    return f"[{shown}{', …' if len(ids) > 12 else ''}]"
