"""What became of the faults that were planted, one by one and together."""

from __future__ import annotations

from dataclasses import dataclass

from pe_deploy.runtime.engines import ENGINES
from pe_deploy.view import html
from pe_deploy.view.html import Table
from pe_deploy.view.text import cut

TOKENIZER = "tokenizer"
"""Where faults on the way from texts to ids are planted."""

_TOKENIZER_MARK = "■"


@dataclass(frozen=True)
class Outcome:
    """What became of one fault in one format.

    Attributes:
        fault: its name.
        format: one of `PLACES`, or `TOKENIZER`.
        caught_by: the checks that failed, in the order of `CHECKS`.
        planted: whether it was planted, so that this outcome counts.
        note: why it was not planted, or why it went unseen; empty where it was caught.
    """

    fault: str
    format: str
    caught_by: tuple[str, ...] = ()
    planted: bool = True
    note: str = ""

    @property
    def caught(self) -> bool:
        """Whether a check saw the fault."""
        return bool(self.caught_by)


class Outcomes(tuple[Outcome, ...]):
    """The outcome of each fault in each format, in order."""

    __slots__ = ()

    @property
    def planted(self) -> list[Outcome]:
        """Those that count."""
        return [outcome for outcome in self if outcome.planted]

    @property
    def missed(self) -> list[str]:
        """The planted faults that no check caught, each with its format."""
        return [f"{it.fault} ({it.format})" for it in self.planted if not it.caught]

    @property
    def checks(self) -> list[str]:
        """The checks that caught something."""
        return list(dict.fromkeys(check for outcome in self.planted for check in outcome.caught_by))

    @property
    def not_planted(self) -> list[str]:
        """A line for each fault that could not be planted somewhere."""
        notes = {outcome.fault: outcome.note for outcome in self if not outcome.planted}
        return [f"not planted: {fault} ({note})" for fault, note in notes.items()]

    @property
    def headline(self) -> str:
        """The outcome in a line."""
        if self.missed:
            return f"{len(self.missed)} planted faults were not caught: {', '.join(self.missed)}"
        return f"all {len(self.planted)} planted faults are caught"

    @property
    def marks(self) -> str:
        """What the letters of the table stand for."""
        places = dict.fromkeys(outcome.format for outcome in self)
        return ", ".join(
            f"{_mark_of(name)} in {'the tokenizer' if name == TOKENIZER else ENGINES[name].file}"
            for name in places
        )

    def table(self) -> Table:
        """A row a fault; under each check a mark for every format in which it catches the fault."""
        caught: dict[str, set[tuple[str, str]]] = {}
        for outcome in self.planted:
            found = caught.setdefault(outcome.fault, set())
            found |= {(outcome.format, check) for check in outcome.caught_by}
        formats = list(dict.fromkeys(outcome.format for outcome in self))
        rows: list[tuple[object, ...]] = [
            (
                fault,
                *(
                    "".join(_mark_of(name) for name in formats if (name, check) in catches)
                    for check in self.checks
                ),
            )
            for fault, catches in caught.items()
        ]
        columns = ("fault", *(check[:4] for check in self.checks))
        return "Planted faults, and what catches each:", columns, rows

    def __repr__(self) -> str:
        return f"<Outcomes: {cut(self.headline, 300)}>"

    def _repr_html_(self) -> str:
        return html.page(
            self.headline,
            html.table(*self.table()),
            html.line(self.marks),
            html.line(f"Checks: {', '.join(self.checks)}"),
            html.folded("Not planted", *map(html.line, self.not_planted)),
        )


def _mark_of(place: str) -> str:
    return _TOKENIZER_MARK if place == TOKENIZER else ENGINES[place].mark
