"""`pe-deploy` and `python -m pe_deploy`: run a command; an expected failure is one line."""

from __future__ import annotations

import atexit
import gc
import io
import sys

from pe_deploy.errors import PeDeployError, requires_extra

_COLLECT_AFTER = 100_000
"""New objects before garbage is looked for. At Python's own 700 to 2000, an export spends a third
of its imports and of its capture on looking through what torch makes and keeps."""


def main() -> None:
    """Run the command line; exit 0 on success, 1 on an expected failure, 2 on wrong usage."""
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)  # the system takes everything back: nothing is looked through again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a narrow encoding must not cost the work
    try:
        with requires_extra("cli"):
            from pe_deploy.cli import app_for
        app_for(sys.argv[1:])()
    except (PeDeployError, OSError) as error:
        sys.exit(f"pe-deploy: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
