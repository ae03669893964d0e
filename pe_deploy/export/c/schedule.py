"""In which loops over the tokens of some rows a model's values are computed.

A loop goes through all places of a row, forwards or backwards. What one token's numbers need of
the same token is computed along with them, so a stack of layers that read forwards is one loop.
What a loop needs of a later token, or of the whole row, was computed and kept by a loop before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pe_deploy.export.c import program as p
from pe_deploy.export.c.program import Per, Value, in_order


@dataclass
class Loop:
    """One pass over the tokens.

    Attributes:
        backwards: whether it begins at the last place.
        values: what it computes of each token, in order.
        rows: what of it each row has afterwards: reductions, tokens at places, final states.
    """

    backwards: bool = False
    values: list[Value] = field(default_factory=list)
    rows: list[Value] = field(default_factory=list)


@dataclass
class Schedule:
    """The loops of a model, and what is computed around them.

    Attributes:
        loops: in order.
        before: for each loop, what each row or the call needs before it; the last entry is for
            after the last loop.
        kept: the values whose numbers of all tokens later loops read.
        home: the loop that computes a value which does not follow from ids and places alone.
    """

    loops: list[Loop]
    before: list[list[Value]]
    kept: set[Value]
    home: dict[Value, int]


def scheduled(logits: Value) -> Schedule:
    """The loops for a model, in which each value is computed as early as may be."""
    return _Scheduler(logits).schedule()


class _Scheduler:
    def __init__(self, logits: Value) -> None:
        self.logits = logits
        self.loops: list[Loop] = []
        self.home: dict[Value, int] = {}
        self.done: dict[Value, int] = {}  # the loop after which a row's value is there; -1: before
        self.kept: set[Value] = set()
        self.around: list[tuple[int, Value]] = []

    def schedule(self) -> Schedule:
        values = in_order(self.logits)
        # What tells how long a row is comes first: then a layer's loop can take its last token.
        for value in _without_runs(values):
            self._place(value, 0)
        first = len(self.loops)
        for value in values:
            if value not in self.done:
                self._place(value, first)
        if self.logits.per is Per.TOKEN and self.logits not in self.home:
            self._join(self.logits, self._ready(self.logits), None)
        for index, loop in enumerate(self.loops):
            loop.values = self._needed(index)
        before: list[list[Value]] = [[] for _ in range(len(self.loops) + 1)]
        for index, value in self.around:
            before[index + 1].append(value)
        return Schedule(self.loops, before, self.kept, self.home)

    def _place(self, value: Value, first: int) -> None:
        if value.per in (Per.CALL, Per.PLACE):
            if value.per is Per.CALL:
                self.done[value] = -1
                self.around.append((-1, value))
            return
        if value.per is Per.ROW and not isinstance(value, p.Reduce | p.At | p.Final):
            self.done[value] = max((self.done[each] for each in value.inputs), default=-1)
            self.around.append((self.done[value], value))
            return
        if value.per is Per.ROW:
            index = self._join(value, self._ready(value), None)
            self.done[value] = index
            self.loops[index].rows.append(value)
            return
        if value.is_known:
            return
        if isinstance(value, p.Run):
            self._join(value, max(first, self._ready(value)), value.layer.backwards)
        else:
            self._join(value, self._ready(value), None)

    def _ready(self, value: Value) -> int:
        """The first loop that can compute a value: what it needs of rows is there."""
        ready = 0
        for each in value.inputs:
            if each.per is Per.ROW:
                ready = max(ready, self.done[each] + 1)
            elif each in self.home:
                later = isinstance(value, p.Turned)
                ready = max(ready, self.home[each] + later)
            elif each.per is Per.TOKEN:
                ready = max(ready, self._ready(each))
        return ready

    def _join(self, value: Value, ready: int, backwards: bool | None) -> int:
        """Let the first loop compute a value that may, or a new one."""
        for index in range(ready, len(self.loops)):
            if backwards in (None, self.loops[index].backwards):
                break
        else:
            index = len(self.loops)
            self.loops.append(Loop(bool(backwards)))
        if value.per is Per.TOKEN:
            self.home[value] = index
        self._keep(value, index)
        return index

    def _keep(self, value: Value, index: int) -> None:
        for each in value.inputs:
            home = self.home.get(each)
            if home is not None and (home < index or isinstance(value, p.Turned)):
                self.kept.add(each)
            elif home is None and each.per is Per.TOKEN:
                self._keep(each, index)

    def _needed(self, index: int) -> list[Value]:
        """What a loop computes of each token: what is its own, and what follows from the ids."""
        loop = self.loops[index]
        roots = [value for value, home in self.home.items() if home == index]
        found: dict[Value, None] = {}

        def add(value: Value) -> None:
            if value in found or value.per not in (Per.TOKEN, Per.PLACE):
                return
            if self.home.get(value, index) != index:
                return  # kept by a loop before
            for each in value.inputs:
                if not isinstance(value, p.Turned):
                    add(each)
            found[value] = None

        for value in [*roots, *(each for row in loop.rows for each in row.inputs)]:
            add(value)
        return list(found)


def _without_runs(values: list[Value]) -> list[Value]:
    """Values of rows, and what they are made of, that no recurrent layer is part of."""
    has_run: set[Value] = set()
    for value in values:
        if isinstance(value, p.Run) or has_run & set(value.inputs):
            has_run.add(value)
    return [value for value in values if value not in has_run and value.per is not Per.TOKEN]
