"""What a test needs beside the dev install; where it is promised, its absence is a failure."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

_PROGRAMS = {"java"}


def needs(*names: str) -> None:
    """Skip where a package or program is missing; fail where PE_DEPLOY_NEEDS names it."""
    for name in names:
        found = shutil.which(name) if name in _PROGRAMS else importlib.util.find_spec(name)
        if found is None:
            reason = f"{name} is not installed"
            if name in os.environ.get("PE_DEPLOY_NEEDS", "").split(","):
                pytest.fail(f"{reason}, and PE_DEPLOY_NEEDS names it")
            pytest.skip(reason)
