"""Whether what a caller names is a URI or a path; seen without pyarrow, which opens URIs."""

from __future__ import annotations

import re

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(given: str) -> bool:
    """Whether it is a URI rather than a path."""
    return _URI.match(given) is not None
