"""What tests need beyond the README's install: where it is missing they skip, and say why."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

_PROGRAMS = {
    *("java", "node", "cc", "gcc", "clang", "wasm-ld"),
    *("aarch64-linux-gnu-gcc", "qemu-aarch64"),
}


def need(*names: str) -> None:
    """Skip the test, or module, that calls it unless these packages and programs are there.

    What `PE_DEPLOY_NEEDS` names, as `PE_DEPLOY_NEEDS=uvicorn,kserve`, is missed with a failure:
    `.ci/run` installs it.
    """
    for name in names:
        found = shutil.which(name) if name in _PROGRAMS else importlib.util.find_spec(name)
        if found is None:
            reason = f"{name} is not installed; see CONTRIBUTING.md"
            if name in os.environ.get("PE_DEPLOY_NEEDS", "").split(","):
                pytest.fail(reason)
            pytest.skip(reason, allow_module_level=True)
