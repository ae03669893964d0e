"""Put the stand-ins into torch for as long as a module is captured, and take them out again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from types import FunctionType
from typing import Any
from unittest import mock

from torch import nn
from torch._subclasses import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.modules import transformer
from torch.nn.utils import rnn

from pe_deploy.export.stand_ins import bags, cells, packed, recurrent
from pe_deploy.export.stand_ins.pooling import SizesKeptFree, are_lengths

RECURRENT = (nn.GRU, nn.LSTM, nn.RNN)


def ready_to_capture(module: nn.Module) -> None:
    """Give every recurrent layer and cell, in place, its weights as ONNX orders them."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.RNNBase) and not hasattr(layer, "W0"):
            recurrent.add_onnx_weights(layer)
        elif isinstance(layer, cells.KINDS) and not hasattr(layer, "_pe_layer"):
            cells.add_layer(layer)


@contextmanager
def standing_in() -> Iterator[None]:
    """Let the layers of modules that are `ready_to_capture` emit standard nodes.

    Classes are changed, not instances, so a subclass that calls `super().forward` is served too.
    Modules that are not ready, which another thread may run meanwhile, compute as ever.
    """
    with ExitStack() as stack:
        for kind in RECURRENT:
            stack.enter_context(mock.patch.object(kind, "forward", _forward_of(kind)))
        for cell in cells.KINDS:
            stack.enter_context(mock.patch.object(cell, "forward", cells.forward_of(cell)))
        stack.enter_context(mock.patch.object(cells, "LOOPS", cells.Loops()))
        stack.enter_context(mock.patch.object(nn.EmbeddingBag, "forward", bags.forward))
        # A mask that happens to be causal is a mask all the same; to look is to ask for values.
        stack.enter_context(
            mock.patch.object(transformer, "_detect_is_causal_mask", return_value=False)
        )
        # People import these two by name, so it is their code that is exchanged.
        for ours in (packed.pack_padded_sequence, packed.pad_packed_sequence):
            stack.enter_context(_with_code(getattr(rnn, ours.__name__), ours))
        stack.enter_context(SizesKeptFree())
        for tensor in (FakeTensor, FunctionalTensor):  # which have their own, past every mode
            stack.enter_context(mock.patch.object(tensor, "tolist", _tolist_of(tensor)))
        yield


def _tolist_of(kind: Any) -> Any:
    """Lengths stay what they are, which `pack_padded_sequence` takes as well as a list."""
    own = kind.tolist
    return lambda tensor: tensor if are_lengths(tensor) else own(tensor)


def _forward_of(kind: type[nn.RNNBase]) -> Any:
    own = kind.forward

    def forward(layer: Any, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's own name
        if hasattr(layer, "W0"):
            return recurrent.forward(layer, input, hx)
        return own(layer, input, hx)

    return forward


@contextmanager
def _with_code(function: Any, other: Any) -> Iterator[None]:
    own, name = function.__code__, function.__name__
    packed.CAPTURING.thread = get_ident()
    packed.CAPTURING.owns[name] = FunctionType(
        own, function.__globals__, name, function.__defaults__, function.__closure__
    )
    function.__code__ = other.__code__
    try:
        yield
    finally:
        function.__code__ = own
