"""A user's module behind the one interface that everything else knows: ids in, logits out."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional

from pe_deploy.config import Signature
from pe_deploy.export.adapt.endings import Ending, left_out
from pe_deploy.export.adapt.inputs import Call, made
from pe_deploy.export.adapt.outputs import AS_IT_IS, Layout, Place, taken


class IdsToLogits(nn.Module):
    """Calls a module with what it wants, and takes its logits out of what it gives."""

    def __init__(
        self,
        module: nn.Module,
        signature: Signature,
        call: Call,
        place: Place = None,
        layout: Layout = AS_IT_IS,
        ending: Ending | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.signature = signature
        self.call = call
        self.place = place
        self.layout = layout
        self.ending = ending

    def around(self, module: nn.Module) -> IdsToLogits:
        """The same adapter round another copy of its module."""
        return IdsToLogits(module, self.signature, self.call, self.place, self.layout, self.ending)

    @property
    def is_plain(self) -> bool:
        """Whether the module itself does all that this one does."""
        more = self.call.seconds or self.call.ids is not None or self.place is not None
        return not (more or any(self.layout) or self.ending) and _takes_ids(self.module)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits, as the signature has them, of ids `[batch, sequence]`."""
        with left_out(self.ending):
            answer = answer_of(self.module, self.call, input_ids, self.signature.pad_id)
        logits: Tensor = taken(answer, self.place)
        if self.layout.transposed:
            logits = logits.transpose(1, 2)
        if self.layout.shorter:
            missing = input_ids.shape[1] - logits.shape[1]
            if torch._C._get_tracing_state() or not statically_known_true(missing == 0):
                logits = functional.pad(logits, (0, 0) * (logits.dim() - 2) + (0, missing))
        if self.layout.reshaped:
            batch, length = input_ids.shape
            steps = (batch, length) if self.signature.task == "tokens" else (-1,)
            own = (axis for axis in self.signature.output_axes if isinstance(axis, int))
            logits = logits.reshape(*steps, *own)
        return logits


def _takes_ids(module: nn.Module) -> bool:
    """Whether `forward` has a parameter for the ids, and is what runs."""
    try:
        first = next(iter(inspect.signature(module.forward).parameters.values()))
    except (StopIteration, TypeError, ValueError):
        return False
    own_call = type(module).__call__ is not nn.Module.__call__
    return first.kind is first.POSITIONAL_OR_KEYWORD and not own_call


def answer_of(module: nn.Module, call: Call, input_ids: Tensor, pad_id: int | None) -> Any:
    """What a module gives for ids `[batch, sequence]`, called in this way."""
    named = {second.name: made(second, module, input_ids, pad_id) for second in call.seconds}
    if call.ids is not None:
        return module(**{call.ids: input_ids}, **named)
    return module(input_ids, **named)


def name_of(module: nn.Module) -> str:
    """The name of the class of the user's own module."""
    return type(module.module if isinstance(module, IdsToLogits) else module).__name__
