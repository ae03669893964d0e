"""Which line of a user's own code an error comes from."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from pe_deploy.errors import ExportError, line_of

_OURS = str(Path(__file__).resolve().parents[2])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})
_FILE_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def blamed(error: BaseException) -> str:
    """What went wrong and in which line of the user's code, in one line.

    >>> try:
    ...     {}["ids"]
    ... except KeyError as error:
    ...     blamed(error)
    "KeyError: 'ids'"
    """
    place = user_line(error)
    return _reason(error) + (f" (at {place})" if place else "")


def own_words(error: BaseException) -> ExportError | None:
    """What we raised ourselves, if that is at the bottom of an error of torch's."""
    return next((one for one in _chain(error) if isinstance(one, ExportError)), None)


def user_line(error: BaseException) -> str:
    """`model.py:12: the source`, of the innermost such frame; empty where there is none."""
    for one in _chain(error):
        if line := line_in(traceback.extract_tb(one.__traceback__)):
            return line
    for one in _chain(error):  # torch hands some on as text
        for name, number in reversed(_FILE_LINE.findall(str(one))):
            if is_users(name):
                source = linecache.getline(name, int(number)).strip()
                return f"{Path(name).name}:{number}: {source}"[:200].strip(": ")
    return ""


def line_in(stack: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line of a stack that is the user's own; empty where none is."""
    for frame in reversed(stack):
        if is_users(frame.filename):
            source = (frame.line or "").strip()
            return f"{Path(frame.filename).name}:{frame.lineno}: {source}"[:200].strip(": ")
    return ""


def is_assert(stack: Sequence[traceback.FrameSummary]) -> bool:
    """Whether the innermost line of a stack that is the user's own asserts something."""
    own = next((frame for frame in reversed(stack) if is_users(frame.filename)), None)
    return own is not None and (own.line or "").strip().startswith("assert")


def _reason(error: BaseException) -> str:
    causes = list(_chain(error))
    root = causes[-1] if causes else error
    text = str(root).strip()
    if "data-dependent" in text or "DataDependent" in type(root).__name__:
        return "the graph would depend on the values of the ids, in an `if` or a loop"
    if unknown := re.search(r"No ONNX function found for .*?op='([\w.]+)'", text):
        return f"torch's exporter knows no ONNX operator for {unknown[1]}"
    if "Length of all samples has to be greater than 0" in text:
        return "a row of padding alone is packed; state the id that it takes for padding (--pad-id)"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return f"{type(root).__name__}: {line_of(first)}" if first else type(root).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


@lru_cache(maxsize=4096)
def is_users(name: str) -> bool:
    """Whether a file is the user's own: none of Python's, of a library's or of ours."""
    path = str(Path(name).resolve()) if not name.startswith("<") else name
    if name.startswith("<") and not name.startswith("<ipython"):
        return False
    return not path.startswith((_OURS, *_LIBRARIES)) and "site-packages" not in path
