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

from pe_deploy.export.passes.layer import Layer
from pe_deploy.export.passes.precompute import Tokens, prefix_depth, prefix_states
from pe_deploy.export.passes.stacks import layers_of
from pe_deploy.export.stand_ins import ready_to_capture

TOKENS, PLACES = np.random.default_rng(0).normal(size=(2, 3, 4))


def stack_of(module: nn.RNNBase, **attributes: int) -> list[list[Layer]]:
    """Each layer's directions, read from nodes."""
    made = copy.deepcopy(module)
    ready_to_capture(made)
    nodes, weights = [], []
    kind = type(module).__name__
    settings: dict[str, Any] = {"hidden_size": module.hidden_size}
    settings |= {"linear_before_reset": 1} if kind == "GRU" else {}
    settings |= {"direction": "bidirectional"} if module.bidirectional else {}
    for index in range(module.num_layers):
        names = [f"{kind}{index}" for kind in "WRB"]
        weights += [numpy_helper.from_array(getattr(made, name).numpy(), name) for name in names]
        nodes.append(helper.make_node(kind, ["X", *names], [f"Y{index}"], **settings | attributes))
    inputs = [helper.make_tensor_value_info("X", 1, [None, None, None])]
    graph = helper.make_graph(nodes, "graph", inputs, [], weights)
    return [layers_of(node) for node in ir.serde.deserialize_graph(graph)]


def forwards(module: nn.RNNBase) -> list[Layer]:
    return [layer for (layer,) in stack_of(module)]


def states_of(found: Any) -> list[Any]:
    """Of each layer, what torch hands on after a step: `[batch, hidden]`."""
    states = found if isinstance(found, tuple) else (found,)
    return [state[layer].numpy() for layer in range(len(states[0])) for state in states]


KINDS = (nn.GRU, nn.LSTM, nn.RNN)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_step_is_torchs(kind: type[nn.GRU | nn.LSTM | nn.RNN], both_ways: bool) -> None:
    torch.manual_seed(0)
    module = kind(4, 6, bidirectional=both_ways)
    (ways,) = stack_of(module)
    assert [layer.backwards for layer in ways] == [False, True][: len(ways)]
    numbers = np.random.default_rng(1)
    rows = numbers.normal(size=(5, 4))
    given = numbers.normal(size=(ways[0].STATES, len(ways), 5, 6))
    start = tuple(torch.from_numpy(given))
    with torch.no_grad():
        # From one step to the next, it is all the same which end it is read from.
        _, after = module.double()(
            torch.from_numpy(rows)[None], start if kind is nn.LSTM else start[0]
        )
    found = [
        state for way, layer in enumerate(ways) for state in layer.step(rows, list(given[:, way]))
    ]
    for state, expected in zip(found, states_of(after), strict=True):
        np.testing.assert_allclose(state, expected, atol=1e-12)


@pytest.mark.parametrize("attributes", [{"linear_before_reset": 0}, {"layout": 1}])
def test_another_formula_is_not_read(attributes: dict[str, int]) -> None:
    assert stack_of(nn.GRU(4, 6), **attributes) == [[]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_after_every_beginning(kind: type[nn.GRU | nn.LSTM | nn.RNN]) -> None:
    torch.manual_seed(0)
    module = kind(4, 6, 2).double()
    tokens = Tokens(ir.Value(name="ids"), TOKENS, PLACES)
    layers = forwards(module)
    states = prefix_states(layers, tokens, 2)
    assert [state.shape for state in states] == [(16, 6)] * 2 * layers[0].STATES
    assert not np.any([state[0] for state in states]), "nothing was read"
    for length in (1, 2):
        for ids in itertools.product(range(3), repeat=length):
            row = sum((token + 1) * 4 ** (1 - place) for place, token in enumerate(ids))
            inputs = TOKENS[list(ids)] + PLACES[:length]
            with torch.no_grad():
                _, expected = module(torch.from_numpy(inputs)[:, None])
            for state, known in zip(states, states_of(expected), strict=True):
                np.testing.assert_allclose(state[row], known[0], atol=1e-12)


@pytest.mark.parametrize(("numbers", "depth"), [(47, 0), (48, 1), (191, 1), (192, 2), (9999, 2)])
def test_as_deep_as_fits_and_a_step_is_left(numbers: int, depth: int) -> None:
    tokens = Tokens(ir.Value(name="ids"), TOKENS, PLACES)
    assert prefix_depth(forwards(nn.GRU(4, 6, 2)), tokens, numbers) == depth
    assert prefix_depth(forwards(nn.LSTM(4, 3, 2)), tokens, numbers) == depth
