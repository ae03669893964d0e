"""What a manifest, or a checkpoint, states of the way from texts to ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from pe_deploy.config import LARGEST_SIZE, Config
from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Self

Kind = Literal["bytes", "words", "characters", "tokenizer.json"]
"""What a token is: a byte of UTF-8, what stands between white space, a code point, or what Hugging
Face's `tokenizers` makes of a file of its own."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Truncation = Literal["start", "end"]
"""Which end of a text that is too long is cut off."""

TooLong = Literal["error", "start", "end"]
"""What becomes of a text that is too long: an error, or that end of it is cut off."""

VOCABULARY = "vocab.txt"
TOKENIZER = "tokenizer.json"

FILES: Mapping[str, str | None] = {
    "bytes": None,
    "words": VOCABULARY,
    "characters": VOCABULARY,
    "tokenizer.json": TOKENIZER,
}
"""The file of a bundle that a kind needs."""

NFC = "nfc"
LOWER = "lower-ascii"
NORMALIZERS = (NFC, LOWER)
"""Those of words and characters, in the order in which they act: both give the same in Python, in
JavaScript and in the Rust library, which NFKC (99 code points) and the lower case of other letters
than A to Z (55 code points, and the final sigma) do not."""

MOST_IDS = 2**22
"""Of a vocabulary: sixteen times as many as the largest in use."""

BYTE_PADDING = 255
"""No UTF-8 text holds the byte 0xFF, so nothing that anyone types can be padding."""


@dataclass(frozen=True)
class TextSpec(Config):
    """How texts become rows of ids.

    Attributes:
        kind: what a token is.
        length: the most ids of a row, as the signature has it.
        padding: the id that fills short rows on the right, as the signature has it.
        unknown: the id of a token that is not in the vocabulary; None where there is none.
        normalizer: what a text goes through first, in order: of words and characters some of
            `NORMALIZERS`; of a `tokenizer.json` the names of what the file holds.
        truncation: which end of a text that is too long is cut off; None where it is an error.
        left_out: settings of the file that was given which are not in the bundle's, a line each.

    Raises:
        InvalidInputError: a value is outside its range, or not one of its kind.

    >>> TextSpec("bytes", length=64, padding=255).to_dict()["kind"]
    'bytes'
    """

    kind: Kind
    length: int
    padding: int | None
    unknown: int | None = None
    normalizer: tuple[str, ...] = ()
    truncation: Truncation | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInputError(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        self.check_int("length", 1, LARGEST_SIZE)
        for name in ("padding", "unknown"):
            if getattr(self, name) is not None:
                self.check_int(name, 0, LARGEST_SIZE)
        if self.truncation is not None:
            check_truncation(self.truncation)
        for name in ("normalizer", "left_out"):
            lines = getattr(self, name)
            if not isinstance(lines, tuple) or not all(isinstance(line, str) for line in lines):
                raise InvalidInputError(f"{name} is {lines!r}; allowed: texts")
        if self.kind == "bytes" and (self.padding, self.unknown) != (BYTE_PADDING, None):
            raise InvalidInputError(
                f"padding is {self.padding} and unknown {self.unknown}; allowed with bytes: "
                f"{BYTE_PADDING} and None"
            )
        if self.unknown is not None and self.unknown == self.padding:
            raise InvalidInputError(
                f"unknown is {self.unknown}, which is the padding; allowed: another id, since "
                "padding inside a row has no meaning"
            )
        allowed = () if self.kind == "bytes" else NORMALIZERS
        if self.kind != "tokenizer.json" and not set(self.normalizer) <= set(allowed):
            raise InvalidInputError(
                f"normalizer is {', '.join(self.normalizer)}; allowed with {self.kind}: "
                f"{', '.join(allowed) or 'none'}"
            )

    @property
    def file(self) -> str | None:
        """The file of the bundle that holds the vocabulary; None for bytes."""
        return FILES[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in super().to_dict().items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON values.

        Raises:
            InvalidInputError: a field is missing, unknown, or outside its range.
        """
        return super().from_dict(
            {k: tuple(value) if type(value) is list else value for k, value in values.items()}
        )


def check_truncation(truncation: object) -> None:
    """Check that it is one.

    Raises:
        InvalidInputError: it is not.
    """
    if truncation not in get_args(Truncation):
        raise InvalidInputError(f"truncation is {truncation!r}; allowed: 'start', 'end' or None")
