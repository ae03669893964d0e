"""HTML for the cells of a notebook: no script, no colour of its own, every text escaped.

It takes the notebook's colours, dark ones too. Where a cell shows no HTML, it shows the `repr`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

from pe_deploy.view.text import cut

Table = tuple[str, tuple[str, ...], list[tuple[object, ...]]]
"""A title, the names of the columns, and the rows; without columns, each row is a name and what
there is to say of it."""

_MOST_ROWS = 60
_LONGEST = 1000


def page(title: str, *parts: str) -> str:
    """What a cell shows: a title and parts, each of them HTML."""
    return f"<div>\n<p><b>{_text(title)}</b></p>\n{''.join(parts)}</div>"


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table whose first column is text and whose others are numbers, or one of facts."""
    names, given = tuple(columns), [tuple(row) for row in rows]
    shown = [_row("td", row, numbers=bool(names)) for row in given[:_MOST_ROWS]]
    rest = len(given) - len(shown)
    return (
        "<table>\n"
        + (f'<caption style="text-align:left"><b>{escape(title)}</b></caption>\n' if title else "")
        + (_row("th", names, numbers=True) if names else "")
        + "".join(shown)
        + "</table>\n"
        + (line(f"and {rest:,} more rows") if rest > 0 else "")
    )


def facts(rows: Iterable[tuple[str, object]], title: str = "") -> str:
    """Names and what there is to say of each."""
    return table(title, (), rows)


def line(text: str) -> str:
    """A line of text."""
    return f"<p>{_text(text)}</p>\n"


def code(text: str) -> str:
    """Something to copy, which is broken where it is long."""
    shown = escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
    return f'<pre style="white-space:pre-wrap">{shown}</pre>\n'


def folded(title: str, *parts: str) -> str:
    """Parts that are there for whoever opens them."""
    return f"<details><summary>{escape(title)}</summary>\n{''.join(parts)}</details>\n"


def picture(png: bytes, says: str) -> str:
    """A picture, and what it says in words."""
    data = base64.b64encode(png).decode()
    return f'<img style="max-width:100%" alt="{escape(says)}" src="data:image/png;base64,{data}">\n'


def _row(tag: str, values: Iterable[object], numbers: bool) -> str:
    cells = []
    for index, value in enumerate(values):
        side = "right" if numbers and index else "left"
        bold = f"<b>{_text(value)}</b>" if not numbers and not index else _text(value)
        cells.append(f'<{tag} style="text-align:{side}">{bold}</{tag}>')
    return f"<tr>{' '.join(cells)}</tr>\n"


def _text(value: object) -> str:
    return escape(cut(str(value), _LONGEST))
