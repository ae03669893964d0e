"""The tokenizer that a manifest, or a checkpoint, states."""

from __future__ import annotations

from pe_deploy.text.spec import TextSpec
from pe_deploy.text.tokenizer import Tokenizer


def open_tokenizer(spec: TextSpec, data: bytes) -> Tokenizer:
    """Make the tokenizer that is stated, of the bytes of its file.

    Raises:
        ValueError: the file is malformed, or is not the one that is stated.
        MissingDependencyError: the kind needs `tokenizers`, and it is not installed.
    """
    if spec.kind == "bytes":
        from pe_deploy.text.byte_tokenizer import ByteTokenizer

        return ByteTokenizer()
    if spec.kind == "tokenizer.json":
        from pe_deploy.text.json_tokenizer import JsonTokenizer

        tokenizer = JsonTokenizer(data, spec.padding)
        found = (tokenizer.unknown_id, tokenizer.normalizer)
        if found != (spec.unknown, spec.normalizer):
            raise ValueError(
                f"its unknown id and normalizer are {found}; stated: "
                f"{(spec.unknown, spec.normalizer)}"
            )
        tokenizer.left_out = spec.left_out
        return tokenizer
    from pe_deploy.text.vocabulary_tokenizer import (
        CharacterTokenizer,
        WordTokenizer,
        entries_of,
    )

    made = WordTokenizer if spec.kind == "words" else CharacterTokenizer
    entries = entries_of(data, spec.kind)
    return made(entries, spec.padding, spec.unknown, spec.normalizer)
