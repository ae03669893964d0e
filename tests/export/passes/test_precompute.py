from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from pe_deploy.export.passes.gru_layers import Layer, layer_of
from pe_deploy.export.passes.precompute import Tokens, prefix_depth, prefix_states
from pe_deploy.export.stand_ins import ready_to_capture

TOKENS, PLACES = np.random.default_rng(0).normal(size=(2, 3, 4))


def stack_of(gru: nn.GRU, **attributes: int) -> list[Layer | None]:
    """Its layers, read from GRU nodes."""
    made = copy.deepcopy(gru)
    ready_to_capture(made)
    nodes, weights = [], []
    for index in range(gru.num_layers):
        names = [f"{kind}{index}" for kind in "WRB"]
        weights += [numpy_helper.from_array(getattr(made, name).numpy(), name) for name in names]
        settings: dict[str, Any] = {"hidden_size": gru.hidden_size, "linear_before_reset": 1}
        settings |= attributes
        nodes.append(helper.make_node("GRU", ["X", *names], [f"Y{index}"], **settings))
    inputs = [helper.make_tensor_value_info("X", 1, [None, None, None])]
    graph = helper.make_graph(nodes, "graph", inputs, [], weights)
    return [layer_of(node) for node in ir.serde.deserialize_graph(graph)]


def known(stack: list[Layer | None]) -> list[Layer]:
    return [layer for layer in stack if layer is not None]


def test_a_step_is_torchs() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(4, 6)
    (layer,) = known(stack_of(gru))
    rows, state = np.random.default_rng(1).normal(size=(2, 5, 6))
    rows = rows[:, :4]
    with torch.no_grad():
        expected, _ = gru.double()(torch.from_numpy(rows)[None], torch.from_numpy(state)[None])
    np.testing.assert_allclose(layer.step(rows, state), expected[0].numpy(), atol=1e-12)


@pytest.mark.parametrize("attributes", [{"linear_before_reset": 0}, {"layout": 1}])
def test_another_formula_is_not_read(attributes: dict[str, int]) -> None:
    assert stack_of(nn.GRU(4, 6), **attributes) == [None]


def test_the_states_after_every_beginning() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(4, 6, 2).double()
    tokens = Tokens(ir.Value(name="ids"), TOKENS, PLACES)
    states = prefix_states(known(stack_of(gru)), tokens, 2)
    assert [state.shape for state in states] == [(16, 6), (16, 6)]
    assert not np.any([state[0] for state in states]), "nothing was read"
    for length in (1, 2):
        for ids in itertools.product(range(3), repeat=length):
            row = sum((token + 1) * 4 ** (1 - place) for place, token in enumerate(ids))
            inputs = TOKENS[list(ids)] + PLACES[:length]
            with torch.no_grad():
                _, expected = gru(torch.from_numpy(inputs)[:, None])
            found = np.stack([state[row] for state in states])
            np.testing.assert_allclose(found, expected[:, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize(("numbers", "depth"), [(47, 0), (48, 1), (191, 1), (192, 2), (9999, 2)])
def test_as_deep_as_fits_and_a_step_is_left(numbers: int, depth: int) -> None:
    tokens = Tokens(ir.Value(name="ids"), TOKENS, PLACES)
    assert prefix_depth(known(stack_of(nn.GRU(4, 6, 2))), tokens, numbers) == depth
