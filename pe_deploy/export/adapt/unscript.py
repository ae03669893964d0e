"""The plain module that `torch.jit.script` was given, built again from its class and its values."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pe_deploy.errors import ExportError


def unscripted(script: torch.jit.ScriptModule) -> nn.Module:
    """A module of the class that was scripted in this process, with the script's own tensors.

    Raises:
        ExportError: it was loaded from a file or traced: its class is not known.
    """
    kind: Any = getattr(getattr(script, "_concrete_type", None), "py_class", None)
    if kind is None or type(script).__name__ != "RecursiveScriptModule":
        raise ExportError(
            "the module is TorchScript without the class that it was made from; export the "
            "class with its state_dict() in its place"
        )
    module: nn.Module = kind.__new__(kind)
    nn.Module.__init__(module)
    concrete: Any = script._concrete_type
    tensors = {
        **dict(script.named_parameters(recurse=False)),
        **dict(script.named_buffers(recurse=False)),
    }
    for name in [*concrete.get_constants(), *concrete.get_attributes()]:
        if name not in tensors and name != "training" and hasattr(script, name):
            setattr(module, name, getattr(script, name))
    for name, parameter in script.named_parameters(recurse=False):
        module.register_parameter(name, nn.Parameter(parameter.detach(), parameter.requires_grad))
    for name, buffer in script.named_buffers(recurse=False):
        module.register_buffer(name, buffer)
    for name, child in script.named_children():
        if isinstance(child, torch.jit.ScriptModule):
            child = unscripted(child)
        module.add_module(name, child)
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    return module.train(script.training)
