"""`pe-deploy` and `python -m pe_deploy`: run a command; an expected failure is one line."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from typing import Any

from pe_deploy.errors import PeDeployError, requires_extra

_COLLECT_AFTER = 100_000
"""New objects before garbage is looked for. At Python's own 700 to 2000, an export spends a third
of its imports and of its capture on looking through what torch makes and keeps."""

_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def main() -> None:
    """Run the command line; exit 0 on success, 1 on an expected failure, 2 on wrong usage.

    Ctrl-C ends it with 130, whatever it does. What nobody reads any more (`pe-deploy inspect B |
    head -1`) is no failure.
    """
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)  # the system takes everything back: nothing is looked through again
    sys.stdout, sys.stderr = map(_lenient, (sys.stdout, sys.stderr))
    try:
        with requires_extra("cli"):
            from pe_deploy.cli import app_for
        app_for(sys.argv[1:])()
    except (PeDeployError, OSError) as error:
        sys.exit(f"pe-deploy: {' '.join(str(error).split())}")
    except BaseException as stop:
        if not _is_interruption(stop):
            raise
        sys.stderr.write("pe-deploy: interrupted\n")
        sys.exit(_INTERRUPTED)


def _is_interruption(stop: BaseException) -> bool:
    """Whether Ctrl-C is behind it: typer exits then; Python 3.11 wraps it while a class is made."""
    if isinstance(stop, SystemExit):
        return stop.code == _INTERRUPTED
    return any(isinstance(error, KeyboardInterrupt) for error in (stop, stop.__cause__))


class _Pipe(io.FileIO):
    """A file that takes what nobody reads for written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _lenient(stream: Any) -> Any:
    """A standard stream that neither a narrow encoding nor a closed pipe stops."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    if stream not in (sys.__stdout__, sys.__stderr__) or stream.isatty():
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False)),
        stream.encoding,
        "replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


if __name__ == "__main__":
    main()
