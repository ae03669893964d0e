"""`nn.EmbeddingBag` over ids `[batch, sequence]`, as a lookup and a reduction."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pe_deploy.errors import ExportError


def forward(
    layer: nn.EmbeddingBag,
    input: Tensor,  # noqa: A002 - torch's own names, which callers may use
    offsets: Tensor | None = None,
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    """What the layer's own `forward` gives, `[batch, dim]`."""
    if input.dim() != 2 or offsets is not None:
        raise ExportError(
            "nn.EmbeddingBag is called with offsets; allowed: ids [batch, sequence] alone"
        )
    found = functional.embedding(input, layer.weight)  # [batch, sequence, dim]
    if per_sample_weights is not None:
        found = found * per_sample_weights[:, :, None]
    if layer.padding_idx is None:
        if layer.mode == "max":
            return found.amax(1)
        return found.sum(1) if layer.mode == "sum" else found.mean(1)
    is_padding = (input == layer.padding_idx)[:, :, None]
    if layer.mode == "max":
        return found.masked_fill(is_padding, float("-inf")).amax(1)
    total = found.masked_fill(is_padding, 0.0).sum(1)
    if layer.mode == "sum":
        return total
    counted: Tensor = total / (~is_padding).sum(1)
    return counted
