"""A copy of a user's module that can be run in any precision, captured and scripted.

The module itself is never changed: people train on.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.unscript import unscripted


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy in eval mode that asks for no gradients.

    What cannot be copied, such as a lock or an open file, is shared.

    Raises:
        ExportError: a lazy layer does not know its size yet.
    """
    for name, tensor in module.named_parameters():
        if is_lazy(tensor):
            raise ExportError(
                f"{name} has no size yet; give the weights, or run the module once before"
            )
    values = [value for part in module.modules() for value in vars(part).values()]
    # Only leaves of autograd's graph can be copied; what hooks and caches leave behind is none.
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for value in values
        if isinstance(value, Tensor) and not value.is_leaf
    }
    with torch.no_grad():
        try:
            copied = copy.deepcopy(module, dict(memo))
        except (TypeError, ValueError, RuntimeError):
            memo |= {id(value): value for value in values if not _can_be_copied(value)}
            copied = copy.deepcopy(module, memo)
    return copied.cpu().eval().requires_grad_(False)


def _can_be_copied(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever an object says to it, the answer is no
        return False
    return True


def unwrapped(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """What DataParallel, torch.compile, AveragedModel and torch.jit.script have wrapped.

    Returns:
        The module inside, which is not copied but for one that was scripted; and a note on each
        wrapping.
    """
    notes: list[str] = []
    while True:
        name = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            module = unscripted(module)
        elif name == "OptimizedModule":
            module = module._orig_mod  # type: ignore[assignment]
        elif name in ("DataParallel", "DistributedDataParallel", "AveragedModel"):
            module = module.module  # type: ignore[assignment]
        else:
            return module, tuple(notes)
        notes.append(f"took the {type(module).__name__} out of {name}")


def in_float32(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A frozen copy with float32 weights, and with no norm of weights left to compute.

    Raises:
        ExportError: it is quantized, or a lazy layer does not know its size yet.
    """
    for name, part in module.named_modules():
        if (hidden := _hidden_layers(part, set(module.modules()))) is not None:
            raise ExportError(
                f"{name or type(part).__name__}.{hidden} keeps layers that its state_dict lacks; "
                "use nn.ModuleList or nn.ModuleDict in place of a plain list or dict"
            )
        if type(part).__module__.startswith(("torch.ao.nn.", "torch.nn.quantized")):
            raise ExportError(
                f"{name} is a quantized {type(part).__name__}; allowed: the module before that, "
                "in float32"
            )
    copied = frozen_copy(module)
    tensors = [*copied.parameters(), *copied.buffers()]
    kinds = sorted({str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()})
    others = [kind for kind in kinds if kind != "float32"]
    for part in list(copied.modules()):
        _fold(part)
        for name, child in list(part.named_children()):
            setattr(part, name, unwrapped(child)[0])
    notes = () if not others else (f"its {' and '.join(others)} weights run as float32",)
    return copied.float(), notes


def _hidden_layers(part: nn.Module, known: set[nn.Module]) -> str | None:
    """The attribute in which a module keeps layers that torch does not see."""
    for name, value in vars(part).items():
        if name.startswith("_") or not isinstance(value, list | tuple | dict):
            continue
        inside = value.values() if isinstance(value, dict) else value
        if any(isinstance(each, nn.Module) and each not in known for each in inside):
            return name
    return None


def _fold(part: nn.Module) -> None:
    """Compute once, in place, what a layer would make of its weights in every call."""
    if names := list(getattr(part, "parametrizations", {})):
        # A copy shares the class that its original was given for them, and gives it up here.
        kind = type(part)
        own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        part.__class__ = type(kind.__name__, kind.__bases__, own)
    for name in names:
        parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        if not isinstance(getattr(part, name), nn.Parameter):  # two tensors made it
            weight = nn.Parameter(getattr(part, name).detach().clone(), requires_grad=False)
            delattr(part, name)
            part.register_parameter(name, weight)
    for hook in list(part._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(part, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(part, hook.name)
    if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.max_norm is not None:
        # A lookup shortens the rows that are too long, each of them once and for all.
        with torch.no_grad():
            every = torch.arange(part.num_embeddings)
            torch.embedding_renorm_(part.weight, every, part.max_norm, part.norm_type)
        part.max_norm = None
