"""What can be read off a module is read off: its sizes, how to call it, what it gives.

What is ambiguous is asked for, in one line that names the option.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pe_deploy.config import LARGEST_SIZE, TASKS, Signature, Task
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.adapt.adapter import IdsToLogits, answer_of
from pe_deploy.export.adapt.blame import blamed
from pe_deploy.export.adapt.inputs import Call, calls_of
from pe_deploy.export.adapt.outputs import Layout, Place, layout_of, place_of, taken

_TRIED = (*range(1, 33), 40, 48, 50, 64, 80, 96, 100, 128, 200, 256, 300, 400, 512)
"""The lengths among which a least length is looked for."""

_LONGEST = 2**16
"""Ids of a row: what is longer cannot be tried in every shape."""

_ROWS = 3


@dataclass(frozen=True)
class Stated:
    """What the user says of a module; None where it is to be read off.

    Raises:
        InvalidInputError: a size is no whole number in its range, or two do not go together.
    """

    vocab_size: int | None = None
    max_length: int | None = None
    min_length: int | None = None
    pad_id: int | None = None
    task: Task = "classes"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_length", "min_length", "pad_id"):
            value, least = getattr(self, name), 0 if name == "pad_id" else 1
            most = _LONGEST if name.endswith("length") else LARGEST_SIZE
            if value is not None and (type(value) is not int or not least <= value <= most):
                raise InvalidInputError(
                    f"{name} is {value!r}; allowed: a whole number, {least} to {most}"
                )
        if self.task not in TASKS:
            raise InvalidInputError(f"task is {self.task!r}; allowed: {', '.join(TASKS)}")
        shortest, longest = self.min_length, self.max_length
        if shortest is not None and longest is not None and shortest > longest:
            raise InvalidInputError(
                f"min_length is {shortest}; allowed: 1 to {longest}, the max_length"
            )
        if self.pad_id is not None and self.vocab_size is not None:
            Signature(self.vocab_size, 1, pad_id=self.pad_id)  # checks that it is an id


def readings(module: nn.Module, stated: Stated) -> Iterator[IdsToLogits]:
    """A module in eval mode, adapted to the signature that it turns out to have.

    More than one reading where forward takes a mask, as numbers or as truths: the likeliest first.

    Raises:
        ExportError: it cannot be called with ids alone, gives no logits, or leaves a size open
            that was not stated.
    """
    # Few ids until the table is found: more might not be in it.
    probe = _Probe(module, stated.pad_id, min(stated.vocab_size or 3, 3))
    calls, length = _callable_with(probe, stated)
    vocab_size = _vocabulary(probe, calls[0], length, stated)
    probe = dataclasses.replace(probe, vocab_size=vocab_size)
    for call in calls:
        least = stated.min_length or _least_length(probe, call, length)
        longest = stated.max_length or _longest(probe, call, max(length, least))
        place, classes, layout = _answer(probe, call, least, longest, stated.task)
        signature = Signature(
            vocab_size, longest, classes, stated.pad_id, min(least, longest), stated.task
        )
        yield IdsToLogits(module, signature, call, place, layout)


@dataclass(frozen=True)
class _Probe:
    """A module asked for answers to random ids that it should take."""

    module: nn.Module
    pad_id: int | None
    vocab_size: int

    def ids(self, batch: int, length: int) -> Tensor:
        """Random ids `[batch, length]` that are no padding."""
        tokens = [n for n in range(self.vocab_size) if n != self.pad_id] or [0]
        generator = torch.Generator().manual_seed(batch * 1009 + length)
        chosen = torch.randint(len(tokens), (batch, length), generator=generator)
        return torch.tensor(tokens)[chosen]

    def __call__(self, call: Call, ids: Tensor) -> Any:
        with torch.no_grad():
            return answer_of(self.module, call, ids.clone(), self.pad_id)

    def takes(self, call: Call, length: int, batch: int = _ROWS) -> bool:
        """Whether it answers rows of this length."""
        try:
            self(call, self.ids(batch, length))
        except Exception:  # noqa: BLE001 - whatever it is, the answer is no
            return False
        return True


def _callable_with(probe: _Probe, stated: Stated) -> tuple[list[Call], int]:
    """The ways to call the module that work, and the least length tried at which one does."""
    calls = list(calls_of(probe.module, stated.pad_id))
    lengths = [stated.min_length] if stated.min_length else _lengths(stated)
    for length in lengths:
        if working := [call for call in calls if probe.takes(call, length)]:
            return working, length
    try:
        probe(calls[0], probe.ids(_ROWS, lengths[min(4, len(lengths) - 1)]))
    except Exception as error:
        tried = f"{lengths[0]} to {lengths[-1]} ids" if len(lengths) > 1 else f"{lengths[0]} ids"
        name = type(probe.module).__name__
        raise ExportError(f"{name} fails on rows of {tried}: {blamed(error)}") from error
    raise ExportError(f"{type(probe.module).__name__} answers one time and fails another")


def _lengths(stated: Stated) -> list[int]:
    most = stated.max_length or _TRIED[-1]
    return [n for n in _TRIED if n < most] + ([most] if stated.max_length else [])


def _vocabulary(probe: _Probe, call: Call, length: int, stated: Stated) -> int:
    """The vocabulary, from the one table that the ids are looked up in."""
    tables = _tables(probe, call, length)
    sizes = sorted(set(tables.values()))
    shown = ", ".join(f"{name} ({rows} rows)" for name, rows in tables.items())
    if stated.vocab_size is not None:
        if sizes and stated.vocab_size > sizes[0]:
            raise ExportError(
                f"vocab_size is {stated.vocab_size}, but ids are looked up in {shown}; "
                f"allowed: 1 to {sizes[0]}"
            )
        return stated.vocab_size
    if len(sizes) == 1:
        return sizes[0]
    why = f"ids are looked up in {shown}" if sizes else "ids are not looked up in any table"
    raise ExportError(f"{why}, so the vocabulary cannot be read off; state --vocab-size")


def _tables(probe: _Probe, call: Call, length: int) -> dict[str, int]:
    """Rows of each table that the ids themselves are looked up in, by the name of its weight."""
    seen = _Lookups()
    for longer in (length + 1, length, length + 7, length + 20):  # a short row may be filled up
        if not seen.tables and probe.takes(call, longer):
            seen.ids = probe.ids(_ROWS, longer)
            with seen:
                probe(call, seen.ids)
    names = {p.data_ptr(): name for name, p in probe.module.named_parameters()}
    names |= {b.data_ptr(): name for name, b in probe.module.named_buffers()}
    return {names.get(table.data_ptr(), "a table"): table.shape[0] for table in seen.tables}


class _Lookups(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Finds the tables of which rows are taken by the ids."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ids = torch.empty(0, 0)
        self.tables: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("embedding", "_embedding_bag", "_embedding_bag_forward_only"):
            self._look(args[0], args[1])
        elif name == "index_select":
            self._look(args[0], args[2])
        elif name == "index" and len(args[1]) == 1:
            self._look(args[0], args[1][0])
        return func(*args, **(kwargs or {}))

    def _look(self, table: Tensor, indices: Tensor) -> None:
        flat = indices.reshape(-1)
        if table.dim() == 2 and any(
            torch.equal(flat, form.reshape(-1)) for form in (self.ids, self.ids.t())
        ):
            self.tables.append(table)


def _least_length(probe: _Probe, call: Call, length: int) -> int:
    """The least length that the module takes; `length` is one, and less was tried on few ids."""
    return next((n for n in range(1, length) if probe.takes(call, n)), length)


def _longest(probe: _Probe, call: Call, taken_length: int) -> int:
    """The greatest length that the module takes, where one of its tables ends there."""
    sizes = {
        size
        for tensor in [*probe.module.parameters(), *probe.module.buffers()]
        for size in tensor.shape
        if size >= taken_length
    }
    for size in sorted(sizes):
        if not probe.takes(call, size + 1, batch=1):
            if probe.takes(call, size, batch=1):
                return size
            break
    raise ExportError(
        "nothing in the module bounds the length of a row, so it cannot be read off; "
        "state --max-length"
    )


def _answer(
    probe: _Probe, call: Call, least: int, longest: int, task: Task
) -> tuple[Place, int, Layout]:
    """Where the logits are, how many, and how they lie."""
    # Sizes that are alike by no chance: no batch is a length.
    lengths = sorted({least, min(longest, least + 2), min(longest, max(least, 7))})
    shapes: dict[tuple[int, int], tuple[int, ...]] = {}
    place: Place = None
    for length in lengths:
        for batch in (1, 5, 3) if length != 3 else (1, 5, 4):
            answer = probe_or_raise(probe, call, batch, length)
            place = place_of(answer)
            logits = taken(answer, place)
            _check_numbers(logits, batch, length)
            shapes[batch, length] = tuple(logits.shape)
    classes, layout = layout_of(shapes, task)
    if task == "tokens" and probe.pad_id is not None and longest > least:
        ids = probe.ids(2, least + 1)
        ids[:, -1] = probe.pad_id
        steps = taken(probe(call, ids), place).shape[2 if layout.transposed else 1]
        layout = layout._replace(shorter=steps == least)
    return place, classes, layout


def probe_or_raise(probe: _Probe, call: Call, batch: int, length: int) -> Any:
    """The answer to so many rows of this length."""
    try:
        return probe(call, probe.ids(batch, length))
    except Exception as error:
        name = type(probe.module).__name__
        raise ExportError(
            f"{name} fails on batch {batch} × length {length}: {blamed(error)}"
        ) from error


def _check_numbers(logits: Tensor, batch: int, length: int) -> None:
    kind = str(logits.dtype).removeprefix("torch.")
    if not logits.is_floating_point():
        raise ExportError(
            f"the module gives {kind} {list(logits.shape)}; allowed: logits, which are floats "
            "(return them before any argmax)"
        )
    if not torch.isfinite(logits).all():
        raise ExportError(
            f"the module gives NaN or infinity on batch {batch} × length {length}; allowed: "
            "finite logits"
        )
