"""SHA-256: of bytes, and of a JSON document that states its own.

The last field of such a document holds the SHA-256 of the document's bytes, taken while its own 64
digits are zeros. Any program can check it, and nobody changes a byte by accident or by hand
without breaking it. It proves no author: who wants to deceive can compute it anew, and that takes
a signature to see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

OWN_DIGEST = "manifest_sha256"
"""The field that holds a document's own digest."""

_ZEROS = "0" * 64
_LITTLE = 2**20  # bytes
_END = b'"\n}\n'
_LAST_LINES = re.compile(rb'  "%s": "([0-9a-f]{64})"\n}\n\Z' % OWN_DIGEST.encode())
_SIZE = len(f'  "{OWN_DIGEST}": "{_ZEROS}"\n}}\n')


def sha256(data: bytes) -> str:
    """The digest of some bytes, 64 hexadecimal digits."""
    digest: str = _algorithm(len(data))(data).hexdigest()
    return digest


def _algorithm(size: int) -> Any:
    """Python's own SHA-256 for little, as in its `random`: OpenSSL, quicker, is slow to load."""
    if size <= _LITTLE:
        for name in ("_sha2", "_sha256"):  # since and before Python 3.12
            try:
                return import_module(name).sha256
            except ImportError:
                continue
    return import_module("hashlib").sha256


def with_own_digest(document: Mapping[str, Any]) -> bytes:
    """A document as JSON, with its own digest as the last field."""
    text = json.dumps({**document, OWN_DIGEST: _ZEROS}, indent=2, ensure_ascii=False) + "\n"
    data = text.encode()
    return _with_digits(data, sha256(data))


def own_digest_holds(data: bytes) -> bool:
    """Whether a document ends with its own digest, and no byte of it was changed since."""
    found = _LAST_LINES.match(data, max(0, len(data) - _SIZE))
    return found is not None and sha256(_with_digits(data, _ZEROS)).encode() == found[1]


def _with_digits(data: bytes, digits: str) -> bytes:
    end = len(data) - len(_END)
    return data[: end - len(digits)] + digits.encode() + data[end:]
