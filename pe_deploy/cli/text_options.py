"""What `train` and `export` ask of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from pe_deploy.text.tokenizer import Tokenizer

TOKENIZER = typer.Option(
    help="What makes ids of texts: bytes; tokenizer.json, or a folder with it; or a vocabulary of "
    "words or characters (.txt, .json)."
)
TRUNCATE = typer.Option(help="Cut this end of a text that is too long; by default an error.")
UNKNOWN_ID = typer.Option(help="The id of a token that is not in the vocabulary, if not named so.")
LOWERCASE = typer.Option("--lowercase", help="Words and characters: A to Z become a to z.")
NFC = typer.Option("--nfc", help="Words and characters: compose letters and their accents first.")


def normalizer_of(lowercase: bool, nfc: bool) -> tuple[str, ...]:
    """The normalizer that `--nfc` and `--lowercase` ask for, in the order in which it acts."""
    from pe_deploy.text.spec import LOWER, NFC

    return (*((NFC,) if nfc else ()), *((LOWER,) if lowercase else ()))


def tokenizer_given(
    tokenizer: str | None,
    pad_id: int | None,
    unknown_id: int | None,
    normalizer: tuple[str, ...],
) -> Tokenizer | None:
    """The tokenizer that the options ask for; None where they ask for none.

    Raises:
        InvalidInputError: an option that is for a tokenizer, without one; or what `read_tokenizer`
            raises, as it does `DataError`.
    """
    from pe_deploy.text.reading import read_tokenizer

    if tokenizer is None:
        if unknown_id is not None or normalizer:
            raise InvalidInputError("--unknown-id, --lowercase and --nfc are for a --tokenizer")
        return None
    return read_tokenizer(tokenizer, pad_id=pad_id, unknown_id=unknown_id, normalizer=normalizer)
