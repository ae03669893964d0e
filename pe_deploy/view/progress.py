"""A progress bar in a notebook, where nobody asked for progress of their own.

It is one output that is replaced as the work goes on: no script, and no widgets to install.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol, runtime_checkable

_SECONDS_BETWEEN = 0.1


@runtime_checkable
class Expecting(Protocol):
    """What wants to know in advance how often it will be called."""

    def expect(self, more: int) -> None:
        """So many calls are to come, beside those that were expected before."""


def expect(progress: object, more: int) -> None:
    """Tell a `progress` how many calls are to come, if it wants to know."""
    if isinstance(progress, Expecting):
        progress.expect(more)


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel: Jupyter, VS Code, Colab; not in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


@contextmanager
def shown(
    name: str, progress: Callable[[Any], None] | None
) -> Iterator[Callable[[Any], None] | None]:
    """The progress that was asked for; without one, in a notebook, a bar that is called alike."""
    if progress is not None or not in_notebook():
        yield progress
        return
    bar = Bar(name)
    try:
        yield bar
    except BaseException:
        bar.note = "stopped"
        raise
    finally:
        bar.finish()


class Bar:
    """A bar below the running cell; call it with each thing that is done.

    What has a `note`, a text, is shown by it. The bar has no end before `expect` told it one.
    """

    def __init__(self, name: str) -> None:
        from IPython.display import display

        self.name = name
        self.done = self.total = 0
        self.note = ""
        self.finished = False
        self._began = self._drawn = time.monotonic()
        self._shown: Any = display(self, display_id=True)

    def expect(self, more: int) -> None:
        """So many calls are to come, beside those that were expected before."""
        self.total += more

    def __call__(self, done: object) -> None:
        """One more is done."""
        self.done += 1
        self.note = getattr(done, "note", self.note)
        if time.monotonic() - self._drawn >= _SECONDS_BETWEEN:
            self._draw()

    def finish(self) -> None:
        """Leave a line of what was done."""
        self.finished = True
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._shown.update(self)

    def __repr__(self) -> str:
        count = f"{self.done:,}" + (f" of {self.total:,}" if self.total else "")
        note = f", {self.note}" if self.note else ""
        return f"{self.name}: {count}{note}, {self._drawn - self._began:.1f} s"

    def _repr_html_(self) -> str:
        if self.finished:
            return f"<p>{escape(repr(self))}</p>"
        place = f' value="{self.done}" max="{self.total}"' if self.total else ""
        return f"<p><progress{place}></progress> {escape(repr(self))}</p>"
