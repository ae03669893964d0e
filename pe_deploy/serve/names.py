"""What requests call a model: its folder's name, or the one that is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pe_deploy.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def name_of(folder: Path, given: str | None = None) -> str:
    """The name of one model, which stands in addresses and paths.

    Raises:
        InvalidInputError: it has other characters than these take.
    """
    name = folder.resolve().name if given is None else given
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"name is {name!r}; allowed: letters, digits, '.', '_', '-'; give --name"
        )
    return name


def named(folders: Sequence[Path], given: Sequence[str]) -> list[tuple[str, Path]]:
    """Each folder with its name.

    Raises:
        InvalidInputError: not one name for each, a name twice, or one as `name_of` refuses it.
    """
    if given and len(given) != len(folders):
        raise InvalidInputError(f"--name is given {len(given)} times; allowed: {len(folders)}")
    names = [name_of(*each) for each in zip_longest(folders, given)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"two bundles are called {name!r}; give --name for each")
    return list(zip(names, folders, strict=True))
