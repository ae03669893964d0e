"""The table of known faults to plant into a copy of a model, so that the checks are seen to work.

Each is one that exports are known to have, or the smallest one that a single check has to see. A
fault is written once where it can be: as an edit of the torch module, which both formats follow.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from pe_deploy.mutation import graphs, records, weights
from pe_deploy.mutation.subject import Plant, Subject, then
from pe_deploy.parity import Tolerance

PLACES = ("onnx", "throughput", "torchscript", "c")
"""Where a fault is planted: `model.onnx`, the form for large batches, `model.pt`, `model.c`."""


@dataclass(frozen=True)
class Fault:
    """A fault by name, what plants it, and where."""

    name: str
    plant: Plant
    formats: tuple[str, ...] = PLACES


FAULTS: tuple[Fault, ...] = (
    # Those that exports are known to have.
    Fault("linear_before_reset flipped", graphs.linear_before_reset_flipped),
    Fault("gates swapped", weights.gates_swapped),
    Fault("a layer's bias dropped", weights.bias_dropped),
    Fault("directions exchanged", weights.directions_exchanged),
    Fault("positional table zeroed", weights.positions(torch.zeros_like)),
    Fault("positional table shifted by one", weights.positions(lambda table: table.roll(1, 0))),
    Fault("positional table reversed", weights.positions(lambda table: table.flip(0))),
    Fault("first layer's state for the last's", graphs.first_layers_state),
    Fault("embedding rows permuted", weights.embedding_rows_permuted),
    Fault("batch and sequence mixed up", graphs.batch_and_sequence_mixed_up),
    Fault("frozen batch", graphs.frozen_batch),
    Fault("frozen sequence", graphs.frozen_sequence),
    Fault("padding counted", graphs.padding_counted),
    Fault("weights rounded to float16", weights.rounded_to(torch.float16)),
    Fault("weights rounded to bfloat16", weights.rounded_to(torch.bfloat16)),
    Fault("one weight changed by 1e-3", weights.one_weight_changed),
    Fault("a sigmoid too many", graphs.sigmoid_too_many),
    Fault("labels exchanged", records.labels_exchanged),
    Fault("threshold moved", records.threshold_moved),
    Fault("another seed's weights", records.another_models_weights),
    Fault("golden vectors of another model", records.another_models_golden),
    # For one check each: without it, the fault would pass.
    Fault(
        "one embedding row changed, golden made of it",
        then(weights.one_embedding_row_changed, lambda it: it.with_golden_of(it.module)),
    ),
    Fault("wrong at one length only", graphs.wrong_at_one_length),
    Fault("the trained model counts padding", then(graphs.padding_counted, Subject.as_if_trained)),
    Fault("the trained model mixes rows", then(graphs.mixing_rows, Subject.as_if_trained)),
    Fault(
        "positional table zeroed, wide tolerance",
        then(
            weights.positions(torch.zeros_like),
            lambda it: dataclasses.replace(it, tolerance=Tolerance(atol=1e6)),
        ),
    ),
    Fault("axes without names", graphs.axes_without_names, formats=("onnx",)),
    Fault("guards left out", graphs.guards_left_out, formats=("onnx", "torchscript")),
)
