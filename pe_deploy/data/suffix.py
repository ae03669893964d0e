"""What a file is, by its name."""

from __future__ import annotations

from pathlib import Path


def suffix_of(path: Path) -> str:
    """The suffix in small letters, together with the one before it where a file is compressed.

    >>> suffix_of(Path("rows.2024.CSV.gz"))
    '.csv.gz'
    """
    suffixes = path.suffixes[-2:] if path.suffix.lower() == ".gz" else [path.suffix]
    return "".join(suffixes).lower()
