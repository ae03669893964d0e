"""Where the logits are in what `forward` gives, and how they become of the signature's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from pe_deploy.config import Task
from pe_deploy.errors import ExportError

Place = str | int | None
"""A key or an attribute, an index, or None where the answer is a tensor by itself."""

_LOGITS = ("logits", "logit", "output", "outputs", "scores", "out", "prediction_logits")


def place_of(answer: Any) -> Place:
    """Where the logits are.

    Raises:
        ExportError: there is no tensor of floats that can be them.
    """
    if isinstance(answer, Tensor):
        return None
    fields = list(answer) if isinstance(answer, Mapping) else _attributes(answer)
    for name in _LOGITS:
        if name in fields and isinstance(taken(answer, name), Tensor):
            return name
    if isinstance(answer, list | tuple):
        for index, value in enumerate(answer):
            if isinstance(value, Tensor) and value.is_floating_point():
                return index
    floats = [
        n for n in fields if isinstance(t := taken(answer, n), Tensor) and t.is_floating_point()
    ]
    if len(floats) == 1:
        return floats[0]
    given = f"{type(answer).__name__} of {', '.join(map(str, fields))}" if fields else repr(answer)
    raise ExportError(
        f"the module gives {given[:100]} and no tensor of logits; allowed: a tensor, a tuple that "
        "begins with it, or a dict or object that has it under 'logits'"
    )


def taken(answer: Any, place: Place) -> Any:
    """What is at a place."""
    if place is None:
        return answer
    if isinstance(place, int) or isinstance(answer, Mapping):
        return answer[place]
    return getattr(answer, place)


class Layout(NamedTuple):
    """How an answer has to be turned.

    Attributes:
        reshaped: whether its axes are not those of the signature.
        transposed: whether its classes come before its steps, as `nn.CrossEntropyLoss` likes it.
        shorter: whether it ends with the longest row of the batch, as `pad_packed_sequence` does.
    """

    reshaped: bool = False
    transposed: bool = False
    shorter: bool = False


AS_IT_IS = Layout()


def layout_of(shapes: Mapping[tuple[int, int], tuple[int, ...]], task: Task) -> tuple[int, Layout]:
    """The classes and the layout, from the shapes that a module answers with.

    By `(batch, length)`: two batches or more, and two lengths if there are; the last one is shown.

    Raises:
        ExportError: no answer of this task has these shapes.
    """
    (batch, length), shape = list(shapes.items())[-1]
    sizes = {given: _size(of) for given, of in shapes.items()}
    steps = {given: given[0] * given[1] for given in shapes}
    if task == "tokens":
        if all(sizes[g] % steps[g] == 0 for g in shapes):
            classes = {sizes[g] // steps[g] for g in shapes}
            moved = all(
                len(of) == 3 and of[0] == b and of[2] == t for (b, t), of in shapes.items()
            ) and not all(of[1] == t for (b, t), of in shapes.items())
            wrong = shape[0] != batch and shape[0] != batch * length
            if len(classes) == 1 and not wrong:
                (count,) = classes
                wanted = [(b, t) if count == 1 else (b, t, count) for b, t in shapes]
                plain = list(shapes.values()) == wanted
                return count, Layout(not (plain or moved), moved)
        raise _misfit(shape, batch, length, "tokens")
    classes = {sizes[g] // g[0] for g in shapes if sizes[g] % g[0] == 0}
    whole = all(sizes[g] % g[0] == 0 for g in shapes)
    # `.squeeze()` drops the batch too, where it is 1.
    wrong = any(len(of) > 0 and of[0] != b and b != 1 for (b, t), of in shapes.items())
    inner = [of for of in shapes.values() if len([n for n in of if n != 1]) > 2]
    if not whole or len(classes) != 1 or wrong or inner:
        raise _misfit(shape, batch, length, task)
    (count,) = classes
    own = () if count == 1 and task != "multilabel" else (count,)
    return count, Layout(any(of != (b, *own) for (b, _), of in shapes.items()))


def _misfit(shape: tuple[int, ...], batch: int, length: int, task: Task) -> ExportError:
    given = f"the module gives {list(shape)} for {batch} rows of {length} ids"
    if task != "tokens" and len(shape) == 3 and shape[:2] == (batch, length):
        return ExportError(f"{given}, an answer for each token; state --task tokens, or pool them")
    if shape and shape[0] != batch and batch in shape[1:]:
        return ExportError(
            f"{given}; allowed: the batch as first dimension (give nn.GRU and its like "
            "batch_first=True, or transpose)"
        )
    allowed = "[batch, sequence, classes]" if task == "tokens" else "[batch] or [batch, classes]"
    return ExportError(f"{given}; allowed for task {task}: {allowed}")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _attributes(answer: Any) -> list[str]:
    if hasattr(answer, "_fields"):
        return list(answer._fields)
    return list(vars(answer)) if hasattr(answer, "__dict__") else []
