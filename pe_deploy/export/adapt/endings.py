"""Whether a module ends in probabilities, found in what it really computes.

Logits squashed once by the module and again by the decision are wrong without a sign of it: every
label may be right and every probability wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

WHOLE_NUMBERS = "whole numbers"

_MOVES = {
    "view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "select", "slice", "t", "transpose",
    "permute", "expand", "clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh",
}  # fmt: skip
_ENDS = {
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "log_sigmoid_forward": "log_sigmoid",
    "special_expit": "sigmoid",
}
_KEEPS = {"clamp", "clamp_min", "clamp_max", "nan_to_num"}
"""What leaves a probability one, though it is then not the last thing done."""

_SQUASHES = {*_ENDS, "tanh", "exp", "hardsigmoid", "special_ndtr", "erf", "clamp", "heaviside"}
_ARITHMETIC = {
    *_MOVES, *_KEEPS, "add", "sub", "rsub", "mul", "div", "reciprocal", "neg", "mean", "sum", "cat",
    "stack", "pow", "sqrt", "amax", "amin", "max", "min", "prod",
}  # fmt: skip

_CALLS = {
    torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit,
    torch.nn.functional.sigmoid, torch.softmax, Tensor.softmax, torch.special.softmax,
    torch.nn.functional.softmax, torch.log_softmax, Tensor.log_softmax,
    torch.special.log_softmax, torch.nn.functional.log_softmax,
}  # fmt: skip


class Ending(NamedTuple):
    """How a module ends.

    Attributes:
        name: sigmoid, softmax, log_softmax, log_sigmoid, or whole numbers.
        call: which of the calls to such functions in `forward` is the last thing done, from 0;
            None where that cannot be said, or something else comes after it.
    """

    name: str
    call: int | None


def ending_of(run: Callable[[], Tensor]) -> Ending | None:
    """How a call ends that gives logits, or should; None where it is not in probabilities.

    `run` gives `[rows, …, classes]` or `[rows]`. A last call of sigmoid or softmax is found in what
    was computed; several of them, averaged or joined, and one written by hand, by what they give.
    """
    with torch.no_grad(), _Calls() as calls, _Made() as made:
        answer = run()
    plain, tensor = True, answer
    while True:
        operator, source = made.of(tensor)
        if operator in _ENDS:
            numbers = [n for n, given in enumerate(calls.given) if given is tensor]
            return Ending(_ENDS[operator], numbers[0] if plain and numbers else None)
        if operator in _KEEPS:
            plain = False
        elif operator not in _MOVES or source is None:
            return _by_its_numbers(made, answer)
        if source is None:
            return None
        tensor = source


def _by_its_numbers(made: _Made, answer: Tensor) -> Ending | None:
    """Whether the answers are probabilities, though no single call makes them so."""
    exact, columns = answer.double(), answer.shape[-1] if answer.dim() > 1 else 1
    if columns > 1:
        for name, each in (("softmax", exact), ("log_softmax", exact.exp())):
            total = each.sum(-1)
            if (each >= 0).all() and torch.allclose(total, total.flatten()[0], rtol=1e-5, atol=0):
                return Ending(name, None)
    if torch.equal(exact, exact.round()):
        return Ending(WHOLE_NUMBERS, None)
    inside = bool(((exact >= 0) & (exact <= 1)).all())
    return Ending("sigmoid", None) if inside and made.is_squashed(answer) else None


@contextmanager
def left_out(ending: Ending | None) -> Iterator[None]:
    """Give what the last call was given, in place of what it gives."""
    if ending is None or ending.call is None:
        yield
        return
    with _Calls(ending.call):
        yield


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers which operator made each tensor, and of what."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._by: dict[int, tuple[str, list[Tensor], list[Tensor]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        outputs = [
            t for t in (given if isinstance(given, tuple) else (given,)) if isinstance(t, Tensor)
        ]
        flat = [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]
        inputs = [t for t in flat if isinstance(t, Tensor)]
        for output in outputs[:1]:
            if not any(output is t for t in inputs) or func.overloadpacket.__name__ in _ENDS:
                # The tensors are kept, so that no other one takes their number.
                self._by[id(output)] = (func.overloadpacket.__name__, inputs, outputs)
        return given

    def of(self, tensor: Tensor) -> tuple[str, Tensor | None]:
        operator, inputs, _ = self._by.get(id(tensor), ("", [], []))
        return operator, inputs[0] if inputs else None

    def is_squashed(self, tensor: Tensor) -> bool:
        """Whether it is made by arithmetic alone of what was squashed, and of nothing else."""
        operator, inputs, _ = self._by.get(id(tensor), ("", [], []))
        if operator in _SQUASHES:
            return True
        return operator in _ARITHMETIC and bool(inputs) and all(map(self.is_squashed, inputs))


class _Calls(TorchFunctionMode):
    """Counts the calls of functions that squash, and leaves one of them out."""

    def __init__(self, leave_out: int | None = None) -> None:
        super().__init__()
        self.given: list[Any] = []
        self._leave_out = leave_out

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _CALLS:
            return func(*args, **kwargs)
        number = len(self.given)
        if number == self._leave_out:
            found = args[0] if args else kwargs["input"]
        else:
            found = func(*args, **kwargs)
        self.given.append(found)
        return found
