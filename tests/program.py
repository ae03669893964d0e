"""`pe-deploy` as a process of its own, which Ctrl-C reaches wherever the tests were started."""

from __future__ import annotations

import sys

PROGRAM = (
    sys.executable,
    "-c",
    """
import signal
from pe_deploy.__main__ import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a shell's background job
    main()
""",
)
