"""Python in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping


def run_python(code: str, *arguments: object, env: Mapping[str, str] | None = None) -> str:
    """What it prints; it ends well, within two minutes, and says nothing of errors."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    return ended.stdout
