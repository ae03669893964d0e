from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serve.running import Server

BUNDLES = Path(__file__).parents[1] / "bundles"
NAMES = ("notebook", "padded", "multilabel", "tokens", "numbers", "bytes", "words")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests that leave it as it was."""
    from tests.serve.running import running  # which skips where the extra is missing

    with running([BUNDLES / name for name in NAMES], "--max-rows", "64") as server:
        yield server
        assert server.ends() == 0
        assert not [line for line in server.lines if "Traceback" in line], server.lines
