"""Where the parts of any module are that faults are planted into."""

from __future__ import annotations

from torch import Tensor, nn

from pe_deploy.config import Signature


def last_recurrent(module: nn.Module) -> nn.RNNBase | None:
    """The last GRU, LSTM or RNN; None where there is none."""
    found = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    return found[-1] if found else None


def last_weights(layer: nn.RNNBase, backwards: bool = False) -> list[Tensor]:
    """The weights and biases of the last of its layers, in one direction."""
    names = layer._all_weights[-1 if backwards or not layer.bidirectional else -2]
    return [getattr(layer, name) for name in names if "weight_hr" not in name]


def id_table(module: nn.Module, signature: Signature) -> Tensor | None:
    """The table that ids are looked up in, `[vocabulary or more, width]`; None if there is none."""
    for name, part in module.named_modules():
        is_table = isinstance(part, nn.Embedding | nn.EmbeddingBag)
        if is_table and "pos" not in name and len(part.weight) >= signature.vocab_size:
            weight: Tensor = part.weight
            return weight
    return None


def position_table(module: nn.Module, signature: Signature) -> Tensor | None:
    """The table of positions as `[positions, width]`, a view; None if there is none.

    A parameter or a buffer with an axis of `max_length` or more, or one that is named so.
    """
    ids, longest = id_table(module, signature), signature.max_length
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        flat = tensor.squeeze()
        if flat.dim() != 2 or tensor is ids or not tensor.is_floating_point():
            continue
        is_named = "pos" in name.lower() or "pe" in name.split(".")
        if "weight_" not in name and (len(flat) == longest or (is_named and len(flat) > longest)):
            return flat
    return None


def head(module: nn.Module) -> Tensor:
    """The largest row of weights nearest to the logits: of the last linear layer, `[inputs]`."""
    linear = [part.weight for part in module.modules() if isinstance(part, nn.Linear)]
    weights = linear or [p for p in module.parameters() if p.dim() > 1] or [*module.parameters()]
    last: Tensor = weights[-1]
    return last.reshape(len(last), -1)[0]
