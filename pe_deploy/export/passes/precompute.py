"""Work on token ids that is done once, at export, and looked up from then on.

    Add(Gather(E, ids), Slice(P, 0, length)) ─ GRU ─ GRU ─ states
      ↓
    Gather(states after every beginning, the beginning's number) ─ states after its last id

All of it is computed in float64 and rounded once, so a table is closer to the exact model than
the float32 steps that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes.graph import axes, constant, integers, is_size_of, made_by, used_once
from pe_deploy.export.passes.layer import Floats, Layer


@dataclass(frozen=True)
class Tokens:
    """Inputs of a GRU that are a token's row of a table, plus its position's row of another.

    Attributes:
        ids: int64 `[sequence, batch]`.
        tokens: `[vocabulary, inputs]`.
        positions: `[longest, inputs]`; None where positions play no part.
        alone: whether nothing else reads the table of tokens, or what is looked up in it.
    """

    ids: ir.Value
    tokens: Floats
    positions: Floats | None
    alone: bool = False

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return len(self.tokens)


def tokens_of(inputs: ir.Value | None) -> Tokens | None:
    """What gives the inputs of a GRU, if it is a lookup of ids, with or without positions."""
    if inputs is None:
        return None
    if added := made_by(inputs, "Add"):
        for lookup, other in (added.inputs, reversed(added.inputs)):
            found = tokens_of(lookup) if made_by(lookup, "Gather") else None
            if found is not None and (rows := _position_rows(other, found.ids)) is not None:
                return Tokens(found.ids, found.tokens, rows, found.alone and used_once(inputs))
        return None
    gathered = made_by(inputs, "Gather")
    if gathered is None or gathered.attributes.get_int("axis", 0) != 0:
        return None
    source, ids = gathered.inputs
    table = constant(source)
    transposed = made_by(ids, "Transpose")
    if source is None or table is None or table.ndim != 2 or ids is None or transposed is None:
        return None
    alone = used_once(source) and used_once(inputs)
    return Tokens(ids, np.asarray(table, np.float64), None, alone)


def _position_rows(value: ir.Value | None, ids: ir.Value) -> Floats | None:
    """The table of which a value is the first rows, one for each step of the ids."""
    sliced = made_by(value, "Slice")
    raised = None if sliced is None else made_by(sliced.inputs[0], "Unsqueeze")
    if sliced is None or raised is None or axes(raised) != [1]:
        return None
    table = constant(raised.inputs[0])
    fixed = [integers(part) for part in (sliced.inputs[1], *sliced.inputs[3:])]
    if table is None or table.ndim != 2 or fixed not in ([[0], [0], [1]], [[0], [0]]):
        return None
    transposed = made_by(ids, "Transpose")
    if transposed is None or not is_size_of(sliced.inputs[2], transposed.inputs[0], 1):
        return None
    return np.asarray(table, np.float64)


def prefix_depth(layers: list[Layer], tokens: Tokens, numbers: int) -> int:
    """How many steps to look up, so that the table of states holds at most so many numbers."""
    longest = 8 if tokens.positions is None else len(tokens.positions) - 1
    size, depth = sum(layer.hidden * layer.STATES for layer in layers), 0
    while depth < longest and (tokens.vocabulary + 1) ** (depth + 1) * size <= numbers:
        depth += 1
    return depth


def prefix_states(layers: list[Layer], tokens: Tokens, depth: int) -> list[Floats]:
    """All states of each layer after every beginning of up to `depth` ids: `[rows, hidden]`.

    A beginning is a number of `depth` digits to the base `vocabulary + 1`: the first digit is that
    of the first id, an id's digit is one more than the id, and 0 means that the row has ended.
    """
    states = [[np.zeros((1, layer.hidden))] * layer.STATES for layer in layers]
    for position in range(depth):
        rows = tokens.tokens
        if tokens.positions is not None:
            rows = rows + tokens.positions[position]
        known = len(states[0][0])
        below = np.tile(rows, (known, 1))
        for index, layer in enumerate(layers):
            before = [np.repeat(state, tokens.vocabulary, axis=0) for state in states[index]]
            after = layer.step(below, before)
            below = after[0]
            states[index] = [
                np.concatenate(
                    [old[:, None], new.reshape(known, tokens.vocabulary, -1)], axis=1
                ).reshape(-1, layer.hidden)
                for old, new in zip(states[index], after, strict=True)
            ]
    return [state for of_layer in states for state in of_layer]
