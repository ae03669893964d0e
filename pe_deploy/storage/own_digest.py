"""A seal: the last field of a JSON document holds the SHA-256 of the document's own bytes.

The digest is taken while its own 64 digits are zeros. Any program can check it, and nobody changes
a byte by accident or by hand without breaking it. It proves no author: who wants to deceive can
seal again, and that takes a signature to see.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

SEAL = "manifest_sha256"

_OPEN = "0" * 64
_END = b'"\n}\n'
_LAST_LINES = re.compile(rb'  "%s": "([0-9a-f]{64})"\n}\n\Z' % SEAL.encode())
_SIZE = len(f'  "{SEAL}": "{_OPEN}"\n}}\n')


def sealed(document: Mapping[str, Any]) -> bytes:
    """A document as JSON, with its seal as the last field."""
    text = json.dumps({**document, SEAL: _OPEN}, indent=2, ensure_ascii=False) + "\n"
    data = text.encode()
    return _with_digits(data, hashlib.sha256(data).hexdigest())


def is_sealed(data: bytes) -> bool:
    """Whether a document ends with its seal, and no byte of it differs from what was sealed."""
    found = _LAST_LINES.match(data, max(0, len(data) - _SIZE))
    if found is None:
        return False
    return hashlib.sha256(_with_digits(data, _OPEN)).hexdigest().encode() == found[1]


def _with_digits(data: bytes, digits: str) -> bytes:
    end = len(data) - len(_END)
    return data[: end - len(digits)] + digits.encode() + data[end:]
