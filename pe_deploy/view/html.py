"""HTML for the cells of a notebook: no script, no colour of its own, every text escaped.

It takes the notebook's colours, dark ones too. Where a cell shows no HTML, it shows the `repr`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable
from html import escape

from pe_deploy.view.text import cut

Table = tuple[str, tuple[str, ...], list[tuple[object, ...]]]
"""A title, the names of the columns, and the rows; without columns, each row is a name and what
there is to say of it."""

_NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]\d+)?[%×]?( ✗)?|–")
_MOST_ROWS = 60
_LONGEST = 1000


def page(title: str, *parts: str) -> str:
    """What a cell shows: a title and parts, each of them HTML."""
    return f"<div>\n<p><b>{_text(title)}</b></p>\n{''.join(parts)}</div>"


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table with named columns, or, without names, one of facts."""
    names, given = tuple(columns), [tuple(row) for row in rows]
    top = given[:_MOST_ROWS]
    numbers = {
        at for at in range(1, len(names)) if all(_NUMBER.fullmatch(str(row[at])) for row in top)
    }
    shown = [_row("td", row, numbers, bold_first=not names) for row in top]
    rest = len(given) - len(shown)
    return (
        "<table>\n"
        + (f'<caption style="text-align:left"><b>{escape(title)}</b></caption>\n' if title else "")
        + (_row("th", names, numbers) if names else "")
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
    return f'<pre style="white-space:pre-wrap"><code>{shown}</code></pre>\n'


def folded(title: str, *parts: str) -> str:
    """Parts that are there for whoever opens them."""
    return f"<details><summary>{escape(title)}</summary>\n{''.join(parts)}</details>\n"


def picture(png: bytes, says: str) -> str:
    """A picture, and what it says in words."""
    data = base64.b64encode(png).decode()
    return f'<img style="max-width:100%" alt="{escape(says)}" src="data:image/png;base64,{data}">\n'


def _row(
    tag: str, values: Iterable[object], numbers: Collection[int], bold_first: bool = False
) -> str:
    cells = []
    for at, value in enumerate(values):
        side = "right" if at in numbers else "left"
        shown = f"<b>{_text(value)}</b>" if bold_first and not at else _text(value)
        cells.append(f'<{tag} style="text-align:{side}">{shown}</{tag}>')
    return f"<tr>{' '.join(cells)}</tr>\n"


def _text(value: object) -> str:
    return escape(cut(str(value), _LONGEST))
