"""Stand-ins that make torch's exporter write the standard GRU operator.

`torch.onnx.export(dynamo=True)` traces through `nn.GRU`: it unrolls the time steps and can freeze
the sample's batch and length into the graph without a word. A stand-in emits one ONNX GRU node a
layer instead, so the capture never looks inside.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pe_deploy.errors import ExportError


class OnnxGRU(nn.Module):
    """Takes and gives what the `nn.GRU` does whose weights it holds, as ONNX GRU nodes.

    torch orders the gates reset, update, new; ONNX orders them update (z), reset (r), hidden (h):
    https://onnx.ai/onnx/operators/onnx__GRU.html. `linear_before_reset=1` is torch's formula, in
    which the reset gate scales the recurrent term after its bias is added.
    """

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.num_layers = gru.num_layers
        self.hidden_size = gru.hidden_size
        self.directions = 2 if gru.bidirectional else 1
        self.batch_first = gru.batch_first

        def stacked(name: str) -> Tensor:
            """The directions of one tensor, gates in ONNX's order: `[directions, 3 * H, …]`."""
            directions = []
            for suffix in ("", "_reverse")[: self.directions]:
                reset, update, new = gru.get_parameter(name + suffix).detach().chunk(3)
                directions.append(torch.cat([update, reset, new]))
            return torch.stack(directions)

        for layer in range(gru.num_layers):
            self.register_buffer(f"W{layer}", stacked(f"weight_ih_l{layer}"))
            self.register_buffer(f"R{layer}", stacked(f"weight_hh_l{layer}"))
            biases = [f"bias_ih_l{layer}", f"bias_hh_l{layer}"] if gru.bias else []
            both = torch.cat([stacked(name) for name in biases], dim=1) if biases else None
            self.register_buffer(f"B{layer}", both)

    def flatten_parameters(self) -> None:
        """Nothing to do: modules call it on their `nn.GRU` before they use it."""

    def forward(self, inputs: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs of the last layer and final states of all, as `nn.GRU` gives them."""
        if not isinstance(inputs, Tensor) or inputs.dim() != 3:
            raise ExportError(
                "nn.GRU is called with a packed or an unbatched sequence; "
                "allowed: a tensor of 3 dimensions"
            )
        steps = inputs.transpose(0, 1) if self.batch_first else inputs  # [T, B, D]
        length, batch = steps.shape[:2]
        states = []
        for layer in range(self.num_layers):
            first = layer * self.directions
            outputs, state = torch.onnx.ops.symbolic_multi_out(
                "GRU",
                (
                    steps,
                    getattr(self, f"W{layer}"),
                    getattr(self, f"R{layer}"),
                    getattr(self, f"B{layer}"),
                    None,  # sequence_lens
                    None if hx is None else hx[first : first + self.directions],
                ),
                attrs={
                    "hidden_size": self.hidden_size,
                    "linear_before_reset": 1,
                    **({"direction": "bidirectional"} if self.directions == 2 else {}),
                },
                dtypes=(inputs.dtype, inputs.dtype),
                shapes=(
                    (length, self.directions, batch, self.hidden_size),
                    (self.directions, batch, self.hidden_size),
                ),
            )
            # [T, directions, B, H] -> [T, B, directions * H]
            steps = (
                outputs.squeeze(1) if self.directions == 1 else outputs.transpose(1, 2).flatten(2)
            )
            states.append(state)
        return steps.transpose(0, 1) if self.batch_first else steps, torch.cat(states)


def with_onnx_gru(module: nn.Module) -> tuple[nn.Module, int]:
    """Copy a module with every `nn.GRU` replaced by its stand-in.

    Returns:
        The copy in eval mode, and how many GRU nodes it will export to.
    """
    replaced = copy.deepcopy(module).eval().requires_grad_(False)
    if isinstance(replaced, nn.GRU):
        return OnnxGRU(replaced), replaced.num_layers
    count = 0
    for parent in list(replaced.modules()):
        # Not named_children(), which leaves out a module's second name.
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.GRU):
                setattr(parent, name, OnnxGRU(child))
                count += child.num_layers
    return replaced, count
