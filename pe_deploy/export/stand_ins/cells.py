"""A loop of `nn.GRUCell`, `nn.LSTMCell` or `nn.RNNCell` over the length, as one node.

    for t in range(ids.size(1)):                        range gives one step, which stands for all
        state = self.cell(embedded[:, t], state)        embedded[:, t] knows that it is every step
    outputs.append(state) … torch.stack(outputs, 1)     and state knows the states after every step

So the body runs once, the cell emits a node over all steps, and what follows the loop reads its
final state or all of them. What else a body does with a step is none of this, and is refused: what
is left is the one case in which the loop is a recurrent layer. Parity tries every length all the
same.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.blame import line_in
from pe_deploy.export.stand_ins import recurrent

KINDS = (nn.GRUCell, nn.LSTMCell, nn.RNNCell)


class Step:
    """A step of a loop over the length, which stands for all of them."""


class Steps:
    """What `range` gives for a free length."""

    def __iter__(self) -> Iterator[Step]:
        LOOPS.begin()
        LOOPS.is_inside = True
        yield Step()
        LOOPS.is_inside = False


class Loops:
    """The lines that began a loop, and how often a cell has taken all steps of one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.taken = 0
        self.is_inside = False
        self.inside: list[Any] = []
        self.every: dict[int, tuple[Tensor, Tensor]] = {}

    def remember(self, tensor: Tensor, steps: Tensor) -> Tensor:
        """Know that a tensor `[B, D]` stands for steps `[T, B, D]`; both are kept alive."""
        self.every[id(tensor)] = (tensor, steps)
        return tensor

    def steps_of(self, tensor: Any) -> Tensor | None:
        """The steps that a tensor stands for; None if it is one by itself."""
        known = self.every.get(id(tensor))
        return None if known is None or known[0] is not tensor else known[1]

    def begin(self) -> None:
        """Note that a loop begins here."""
        self.lines.append(line_in(traceback.extract_stack()))

    def made(self, value: Any) -> Any:
        """Know that a value was made inside a loop, so that it is no first state."""
        if self.is_inside:
            self.inside.append(value)
        return value

    def check_start(self, starts: Sequence[Tensor]) -> None:
        """See that a cell begins with a state from before its loop.

        Raises:
            ExportError: something is done to the state between two steps.
        """
        if any(start is value for start in starts for value in self.inside):
            raise ExportError(
                "a loop over the length changes the state between two steps "
                f"(at {self.lines[-1]}); no recurrent layer does that, and a graph holds no loop"
            )

    def check(self) -> None:
        """See that each loop has run a cell.

        Raises:
            ExportError: one has not, so its body may be anything.
        """
        if len(self.lines) > self.taken:
            raise ExportError(
                f"a loop over the length runs no nn.GRUCell or its like (at {self.lines[-1]}); let "
                "nn.GRU, nn.LSTM or nn.RNN run over the sequence in its place"
            )


LOOPS = Loops()


def range_of(*sizes: Any) -> Any:
    """Python's `range`, but of a free length."""
    stop = sizes[1] if len(sizes) == 2 and sizes[0] == 0 else sizes[0]
    if len(sizes) <= 2 and isinstance(stop, torch.SymInt):
        return Steps()
    return builtins.range(*sizes)


def item(tensor: Tensor, index: Any) -> Tensor | None:
    """`tensor[…]` by a step; None where no step is in the index."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, Step) for part in parts):
        return None
    axis = next(place for place, part in enumerate(parts) if isinstance(part, Step))
    one, every = (
        tuple(choice if isinstance(part, Step) else part for part in parts)
        for choice in (0, slice(None))
    )
    return LOOPS.remember(tensor[one], tensor[every].movedim(axis, 0))


def stacked(tensors: Any, dim: int = 0) -> Tensor | None:
    """`torch.stack` of the one state that stands for all of them; None of any other list."""
    if not isinstance(tensors, Sequence) or len(tensors) != 1:
        return None
    steps = LOOPS.steps_of(tensors[0])
    return None if steps is None else steps.movedim(0, dim)


def unbound(tensor: Tensor, dim: int = 0) -> list[Tensor] | None:
    """`tensor.unbind(dim)` over a free length; None over a known one."""
    if not isinstance(tensor.shape[dim], torch.SymInt):
        return None
    LOOPS.begin()
    return [LOOPS.remember(tensor.select(dim, 0), tensor.movedim(dim, 0))]


def forward_of(kind: Any) -> Any:
    """The cell's `forward`, which runs over all steps where it is given one that stands for all."""
    own = kind.forward

    def forward(cell: Any, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's own name
        steps = LOOPS.steps_of(input)
        if steps is None:
            return own(cell, input, hx)
        LOOPS.taken += 1
        starts = () if hx is None else (hx if isinstance(hx, tuple) else (hx,))
        LOOPS.check_start(starts)
        outputs, states = recurrent.node(_layer(cell), 0, steps, [s[None] for s in starts])
        every = outputs.squeeze(1)
        final = LOOPS.remember(states[0].squeeze(0), every)
        return (final, states[1].squeeze(0)) if isinstance(cell, nn.LSTMCell) else final

    return forward


def _layer(cell: nn.RNNCellBase) -> nn.RNNBase:
    """A layer of one direction that holds the cell's weights."""
    layer: nn.RNNBase = cell._pe_layer  # type: ignore[assignment]
    return layer


def add_layer(cell: nn.GRUCell | nn.LSTMCell | nn.RNNCell) -> None:
    """Give a cell the layer that its loop is, with weights as ONNX orders them."""
    layers = {nn.GRUCell: nn.GRU, nn.LSTMCell: nn.LSTM, nn.RNNCell: nn.RNN}
    kind = next(layer for own, layer in layers.items() if isinstance(cell, own))
    more = {"nonlinearity": cell.nonlinearity} if isinstance(cell, nn.RNNCell) else {}
    with torch.random.fork_rng(devices=[]):
        layer = kind(cell.input_size, cell.hidden_size, bias=cell.bias, **more)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            layer.get_parameter(f"{name}_l0").copy_(parameter)
    layer.requires_grad_(False)
    recurrent.add_onnx_weights(layer)
    cell._pe_layer = layer
