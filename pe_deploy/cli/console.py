"""What the commands print with: results on stdout, progress on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)
err = Console(highlight=False, stderr=True)


def progress_bar() -> Progress:
    """A bar that is gone when its work is done; nothing where stderr is not a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


class Counted:
    """Moves a bar by each thing that it is called with; without an end before `expect` sets one."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._task = bar.add_task(name, total=None)
        self._total = 0

    def expect(self, more: int) -> None:
        """So many things are to come, beside those that were expected before."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def __call__(self, done: object) -> None:
        """One more is done."""
        self._bar.advance(self._task)


@contextmanager
def counted(name: str) -> Iterator[Counted]:
    """A bar for work whose end it learns; call what it yields with each thing that is done."""
    with progress_bar() as bar:
        yield Counted(bar, name)


@contextmanager
def share_of(name: str) -> Iterator[Callable[[float], None]]:
    """A bar for the whole of some work; call what it yields with the share done, 0 to 1."""
    with progress_bar() as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; the first column is text, the others are numbers or rich texts."""
    made = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left")
    for row in rows:
        made.add_row(*map(_cell, row))
    _print(title, made)


def facts(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print names and what there is to say of each."""
    made = Table(box=None, show_header=False, padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, _cell(value))
    _print(title, made)


def print_about(about: Mapping[str, object]) -> None:
    """Print the machine and the versions that a measurement was taken with."""
    machine = ", ".join(f"{what} {value}" for what, value in about.items())
    out.print(f"On: {machine}", markup=False)


def _cell(value: object) -> Text:
    # As text: rich would take [batch] for markup.
    return value if isinstance(value, Text) else Text(str(value))


def _print(title: str, made: Table) -> None:
    # Not as the table's own title, which would be broken at the table's width.
    out.print(Text(title, style="bold"))
    out.print(made)
    out.print()
