"""`pe-deploy` and `python -m pe_deploy`: run a command; an expected failure is one line."""

from __future__ import annotations

import io
import sys

from pe_deploy.errors import PeDeployError, requires_extra


def main() -> None:
    """Run the command line; exit 0 on success, 1 on an expected failure, 2 on wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a narrow encoding must not cost the work
    try:
        with requires_extra("cli"):
            from pe_deploy.cli import app
        app()
    except (PeDeployError, OSError) as error:
        sys.exit(f"pe-deploy: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
