"""What tests need beyond the README's install: where it is missing they skip, and say why.

`PE_DEPLOY_NEEDS=serve,java` makes a missing one of these a failure, for `.ci/run`, which installs
them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from shutil import which

import pytest


def need(what: str, *, modules: tuple[str, ...] = (), programs: tuple[str, ...] = ()) -> None:
    """Skip the test or module that calls it, unless all of these are there."""
    missing = [name for name in modules if find_spec(name) is None]
    missing += [name for name in programs if which(name) is None]
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed: see CONTRIBUTING.md for the tests of {what}"
    if what in os.environ.get("PE_DEPLOY_NEEDS", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
