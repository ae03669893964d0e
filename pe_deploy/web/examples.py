"""Inputs that a page offers to try: texts and rows that the bundle's proof is made with."""

from __future__ import annotations

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.text.golden import GoldenText

_MOST = 3
_SHORTEST, _LONGEST = 3, 60
"""Of a text, in characters."""
_LONGEST_ROW = 200
"""Of a row of ids, written."""


def examples_of(bundle: Bundle, input: str) -> list[str]:  # noqa: A002 - as in `make_site`
    """Some inputs that the model takes, as a visitor would type them; of a drawing none."""
    if input == "text":
        texts = [each.text for each in bundle.golden_texts() if _is_plain(each)]
        return _spread(texts)
    if input == "ids":
        pad_id = bundle.manifest.signature.pad_id
        rows = (row for case in bundle.golden() for row in case.input_ids.tolist())
        written = (" ".join(str(each) for each in row if each != pad_id) for row in rows)
        by_length = {len(row.split()): row for row in written if len(row) <= _LONGEST_ROW}
        return [by_length[length] for length in sorted(by_length, reverse=True)[:_MOST]]
    return []


def _spread(texts: list[str]) -> list[str]:
    """A few out of all parts of a list."""
    step = max(1, len(texts) // _MOST)
    return texts[step // 2 :: step][:_MOST]


def _is_plain(golden: GoldenText) -> bool:
    """Whether it looks like what people write: words, single spaces, and the model takes it."""
    text = golden.text
    words = text.split(" ")
    return (
        golden.ids is not None
        and _SHORTEST <= len(text) <= _LONGEST
        and all(map(str.isalpha, words))
        and len(set(text)) >= _SHORTEST
    )
