"""Known faults to plant into a copy of a model, so that the checks can be seen to catch them.

Each is one that exports are known to have, or the smallest one that a single check has to see. A
fault is written once where it can be: as an edit of the torch module, which both formats follow.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper, parser
from torch import Tensor, nn

from pe_deploy.bundle import ONNX, Bundle, GoldenCase, Manifest
from pe_deploy.config import LOGITS, Decision, ModelConfig, Signature
from pe_deploy.export.golden import eager_predictor
from pe_deploy.export.guards import CHECKED_IDS, unguarded
from pe_deploy.export.onnx import to_onnx
from pe_deploy.export.onnx_gru import with_onnx_gru
from pe_deploy.export.rebuild import own_random_numbers, rebuilt
from pe_deploy.export.weights_digest import weights_sha256
from pe_deploy.parity import Tolerance
from pe_deploy.training import GRUClassifier

PLACES = ("onnx", "throughput", "torchscript")
"""Where a fault is planted: `model.onnx`, the form for large batches, `model.pt`."""

FROZEN_ROWS = 2
"""A batch that the checks try, so that a frozen one is right there and wrong elsewhere."""


@dataclass(frozen=True)
class Subject:
    """What is judged, with or without a fault in it.

    Attributes:
        classifier: the model that the bundle was made from; no fault changes it.
        trained: the module that passes for the trained model, from which exact logits come.
        module: the module that becomes TorchScript.
        model: the ONNX graph.
        manifest: the signature and the decision.
        golden: the vectors that travel.
        tolerance: the one that a user states; None for the usual one.
        guarded_for: the signature that TorchScript checks its input by, if not the manifest's.
    """

    classifier: GRUClassifier
    trained: nn.Module
    module: nn.Module
    model: onnx.ModelProto
    manifest: Manifest
    golden: tuple[GoldenCase, ...]
    tolerance: Tolerance | None = None
    guarded_for: Signature | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> Subject:
        """What a bundle holds, its torch module `rebuilt`.

        Raises:
            BundleError: the bundle holds no `model.onnx`.
            ExportError: the module cannot be built again from it.
        """
        classifier = rebuilt(bundle)
        model = onnx.load_from_string(bundle.read(ONNX))
        golden = tuple(bundle.golden())
        return cls(classifier, classifier, classifier, model, bundle.manifest, golden)

    @property
    def config(self) -> ModelConfig:
        """The sizes of the model."""
        return self.classifier.config

    @property
    def decision(self) -> Decision:
        """How the manifest takes labels from logits."""
        return self.manifest.decision

    @property
    def recorded_labels(self) -> Sequence[int | str]:
        """The labels in the golden vectors."""
        found = [case.labels.tolist() for case in self.golden if case.labels is not None]
        return [label for labels in found for label in labels]

    def with_weights_of(self, module: GRUClassifier) -> Subject:
        """Both formats with the weights of a module of the same architecture."""
        state = with_onnx_gru(module)[0].state_dict()
        model = copy.deepcopy(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in state:
                tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].numpy(), tensor.name))
        return dataclasses.replace(self, module=module, model=model)

    def made_of(self, module: nn.Module) -> Subject:
        """Both formats exported from another module."""
        opset = next(opset.version for opset in self.model.opset_import if not opset.domain)
        model = to_onnx(module, self.manifest.signature, opset=opset)
        return dataclasses.replace(self, module=module, model=model)

    def as_if_trained(self) -> Subject:
        """As if this module had been trained so: exact and golden logits agree with its fault."""
        return dataclasses.replace(self, trained=self.module).with_golden_of(self.module)

    def with_golden_of(self, module: nn.Module) -> Subject:
        """The same inputs with the logits and labels of another module."""
        exact, single = eager_predictor(module, torch.float64), eager_predictor(module)

        def answered(case: GoldenCase) -> GoldenCase:
            logits = exact(case.input_ids).astype(np.float64)
            return dataclasses.replace(
                case,
                float64=logits,
                float32=single(case.input_ids).astype(np.float32),
                labels=None if case.labels is None else self.decision.labels_of(logits),
            )

        return dataclasses.replace(self, golden=tuple(map(answered, self.golden)))


Plant = Callable[[Subject], Subject | str]


@dataclass(frozen=True)
class Fault:
    """A fault by name; `plant` gives a faulty copy, or why this model cannot have the fault."""

    name: str
    plant: Plant
    formats: tuple[str, ...] = PLACES


def _weights(edit: Callable[[GRUClassifier], None]) -> Plant:
    """A fault that edits weights, the same ones in both formats."""

    def plant(subject: Subject) -> Subject | str:
        module = copy.deepcopy(subject.classifier).requires_grad_(False)
        edit(module)
        if weights_sha256(module) == weights_sha256(subject.classifier):
            return "it leaves every weight of this model as it is"
        return subject.with_weights_of(module)

    return plant


def _last_layer(model: GRUClassifier) -> Iterator[Tensor]:
    """The weights and biases of the last GRU layer, gates in torch's order: r, z, n."""
    return (getattr(model.rnn_lay, name) for name in model.rnn_lay._all_weights[-1])


def _gates_swapped(model: GRUClassifier) -> None:
    for weight in _last_layer(model):
        reset, update, new = weight.chunk(3)
        weight.copy_(torch.cat([update, reset, new]))


def _bias_dropped(model: GRUClassifier) -> None:
    for weight in _last_layer(model):
        if weight.dim() == 1:
            weight.zero_()


def _positions(edit: Callable[[Tensor], Tensor]) -> Plant:
    def edit_table(model: GRUClassifier) -> None:
        table = model.pos_encoder.positional_encoding.weight
        table.copy_(edit(table))

    return _weights(edit_table)


def _embedding_rows_permuted(model: GRUClassifier) -> None:
    # Two neighbours only, and neither the first nor the last id, which every case holds.
    table = model.embedding.weight
    middle = (len(table) - 1) // 2
    table[middle : middle + 2] = table[middle : middle + 2].flip(0)


def _rounded_to(dtype: torch.dtype) -> Plant:
    def edit(model: GRUClassifier) -> None:
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))

    return _weights(edit)


def _one_weight_changed(model: GRUClassifier) -> None:
    # One that matters: the head's largest acts on a logit at once, by 1e-3 times a state between
    # -1 and 1. What 1e-3 of a weight deep inside adds may be lost in float32's own rounding.
    row = model.fc_lay.weight[0]
    row[row.abs().argmax()] += 1e-3


def _one_embedding_row_changed(model: GRUClassifier) -> None:
    table = model.embedding.weight
    middle = (len(table) - 1) // 2
    # Of the padding, the row is never looked at.
    table[middle + 1 if middle == model.pad_id else middle] += 0.1


def _linear_before_reset_flipped(subject: Subject) -> Subject:
    module = _with_gru(subject.classifier, _ResetFirst(subject.classifier.rnn_lay))
    model = copy.deepcopy(subject.model)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "linear_before_reset":
                attribute.i = 0
    return dataclasses.replace(subject, module=module, model=model)


def _first_layers_state(subject: Subject) -> Subject | str:
    whole = subject.classifier.rnn_lay
    if whole.num_layers == 1:
        return "the model has one layer"
    # torch starts from new weights here, which are all replaced.
    with own_random_numbers():
        first = nn.GRU(whole.input_size, whole.hidden_size, batch_first=True)
    first.load_state_dict({name: whole.state_dict()[name] for name in first.state_dict()})
    return subject.made_of(_with_gru(subject.classifier, first))


def _batch_and_sequence_mixed_up(subject: Subject) -> Subject:
    return subject.made_of(_with_gru(subject.classifier, _MixedUp(subject.classifier.rnn_lay)))


def _frozen_batch(subject: Subject) -> Subject:
    return _reshaped(subject, FROZEN_ROWS, -1)


def _frozen_sequence(subject: Subject) -> Subject:
    return _reshaped(subject, -1, subject.config.max_length)


def _padding_counted(subject: Subject) -> Subject | str:
    if subject.config.pad_id is None:
        return "the model has no padding"
    module = copy.deepcopy(subject.classifier)
    module.pad_id = None
    return subject.made_of(module)


def _sigmoid_too_many(subject: Subject) -> Subject:
    module = nn.Sequential(subject.classifier, nn.Sigmoid())
    return _with_tail(subject, module, "logits = Sigmoid(before)")


def _labels_exchanged(subject: Subject) -> Subject | str:
    recorded = subject.recorded_labels
    if not recorded:
        return "the golden vectors record no labels"
    # With many classes some may never be answered: exchange the one that is answered most.
    labels = list(subject.manifest.labels)
    here = labels.index(max(labels, key=recorded.count))
    there = (here + 1) % len(labels)
    labels[here], labels[there] = labels[there], labels[here]
    return _with_manifest(subject, dataclasses.replace(subject.manifest, labels=tuple(labels)))


def _threshold_moved(subject: Subject) -> Subject | str:
    threshold = subject.manifest.threshold
    if threshold is None:
        return "a model with classes has no threshold"
    moved = [
        _with_manifest(subject, dataclasses.replace(subject.manifest, threshold=value))
        for value in (threshold / 2, (1 + threshold) / 2)
    ]
    # Half way to the end at which more of the recorded answers change.
    return max(moved, key=_changed_answers)


def _siblings_weights(subject: Subject) -> Subject:
    return subject.with_weights_of(_sibling(subject.config))


def _another_models_golden(subject: Subject) -> Subject:
    return subject.with_golden_of(_sibling(subject.config))


def _golden_made_of_the_fault(subject: Subject) -> Subject | str:
    faulty = _weights(_one_embedding_row_changed)(subject)
    return faulty if isinstance(faulty, str) else faulty.with_golden_of(faulty.module)


def _wrong_at_one_length(subject: Subject) -> Subject:
    # Neither the longest nor a short one, which golden vectors and other checks try as well.
    length = max(1, subject.config.max_length - 2)
    return _with_tail(
        subject,
        _WrongAtOneLength(subject.classifier, length),
        f"""
            wrong_length = Constant<value_ints=[{length}]>()
            length = Shape<start=1, end=2>(checked_ids)
            is_wrong = Equal(length, wrong_length)
            amount = Constant<value_float=0.01>()
            ones = Cast<to=1>(is_wrong)
            added = Mul(ones, amount)
            logits = Add(before, added)
        """,
    )


def _trained_counting_padding(subject: Subject) -> Subject | str:
    faulty = _padding_counted(subject)
    return faulty if isinstance(faulty, str) else faulty.as_if_trained()


def _trained_mixing_rows(subject: Subject) -> Subject:
    return _with_tail(
        subject,
        nn.Sequential(subject.classifier, _CentredOverBatch()),
        """
            rows = Constant<value_ints=[0]>()
            mean = ReduceMean(before, rows)
            logits = Sub(before, mean)
        """,
    ).as_if_trained()


def _hidden_by_tolerance(subject: Subject) -> Subject | str:
    faulty = _positions(torch.zeros_like)(subject)
    if isinstance(faulty, str):
        return faulty
    return dataclasses.replace(faulty, tolerance=Tolerance(atol=1e6))


def _axes_without_names(subject: Subject) -> Subject:
    model = copy.deepcopy(subject.model)
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            axis.ClearField("dim_param")
    return dataclasses.replace(subject, model=model)


def _guards_left_out(subject: Subject) -> Subject:
    model = unguarded(subject.model, subject.manifest.signature)
    anything = Signature(vocab_size=2**31 - 1, max_length=2**31 - 1)
    return dataclasses.replace(subject, model=model, guarded_for=anything)


FAULTS: tuple[Fault, ...] = (
    Fault("linear_before_reset flipped", _linear_before_reset_flipped),
    Fault("gates swapped", _weights(_gates_swapped)),
    Fault("a layer's bias dropped", _weights(_bias_dropped)),
    Fault("positional table zeroed", _positions(torch.zeros_like)),
    Fault("positional table shifted by one", _positions(lambda table: table.roll(1, 0))),
    Fault("positional table reversed", _positions(lambda table: table.flip(0))),
    Fault("first layer's state for the last's", _first_layers_state),
    Fault("embedding rows permuted", _weights(_embedding_rows_permuted)),
    Fault("batch and sequence mixed up", _batch_and_sequence_mixed_up),
    Fault("frozen batch", _frozen_batch),
    Fault("frozen sequence", _frozen_sequence),
    Fault("padding counted", _padding_counted),
    Fault("weights rounded to float16", _rounded_to(torch.float16)),
    Fault("weights rounded to bfloat16", _rounded_to(torch.bfloat16)),
    Fault("one weight changed by 1e-3", _weights(_one_weight_changed)),
    Fault("a sigmoid too many", _sigmoid_too_many),
    Fault("labels exchanged", _labels_exchanged),
    Fault("threshold moved", _threshold_moved),
    Fault("a sibling's weights", _siblings_weights),
    Fault("golden vectors of another model", _another_models_golden),
    # For one check each: without it, the fault would pass.
    Fault("one embedding row changed, golden made of it", _golden_made_of_the_fault),
    Fault("wrong at one length only", _wrong_at_one_length),
    Fault("the trained model counts padding", _trained_counting_padding),
    Fault("the trained model mixes rows", _trained_mixing_rows),
    Fault("positional table zeroed, wide tolerance", _hidden_by_tolerance),
    Fault("axes without names", _axes_without_names, formats=("onnx",)),
    Fault("guards left out", _guards_left_out, formats=("onnx", "torchscript")),
)
"""Those of issue 3 first, in its order."""


class _ResetFirst(nn.Module):
    """An `nn.GRU` with `linear_before_reset=0`: the reset gate scales the state, not what is made
    of it. https://onnx.ai/onnx/operators/onnx__GRU.html
    """

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _ResetFirstLayer(*(getattr(gru, name) for name in names)) for names in gru._all_weights
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From `[batch, sequence, width]` to what `nn.GRU` gives."""
        states = inputs
        last: list[Tensor] = []
        for layer in self.layers:
            states = layer(states)
            last.append(states[:, -1])
        return states, torch.stack(last)


class _ResetFirstLayer(nn.Module):
    def __init__(
        self, input_weight: Tensor, state_weight: Tensor, input_bias: Tensor, state_bias: Tensor
    ) -> None:
        super().__init__()
        self.input_weight, self.input_bias = input_weight, input_bias
        self.state_weight, self.state_bias = state_weight, state_bias

    def forward(self, inputs: Tensor) -> Tensor:
        """From `[batch, sequence, width]` to `[batch, sequence, hidden]`."""
        of_reset, of_update, of_new = self.state_weight.chunk(3)
        state_reset, state_update, state_new = self.state_bias.chunk(3)
        state = torch.zeros(inputs.size(0), of_new.size(0), dtype=inputs.dtype)
        states: list[Tensor] = []
        for step in inputs.unbind(1):
            projected = nn.functional.linear(step, self.input_weight, self.input_bias)
            reset, update, new = projected.chunk(3, dim=1)
            reset = torch.sigmoid(reset + nn.functional.linear(state, of_reset, state_reset))
            update = torch.sigmoid(update + nn.functional.linear(state, of_update, state_update))
            new = torch.tanh(new + nn.functional.linear(reset * state, of_new, state_new))
            state = (1 - update) * new + update * state
            states.append(state)
        return torch.stack(states, dim=1)


class _MixedUp(nn.Module):
    """A GRU that reads down the batch instead of along each row; no shape shows it."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From `[batch, sequence, width]` to what `nn.GRU` gives."""
        states = self.gru(inputs.transpose(0, 1))[0].transpose(0, 1)
        return states, states[:, -1].unsqueeze(0)


class _Reshape(nn.Module):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, input_ids: Tensor) -> Tensor:
        """The ids in another shape."""
        return input_ids.reshape(self.rows, self.columns)


class _WrongAtOneLength(nn.Module):
    def __init__(self, classifier: GRUClassifier, length: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.length = length

    def forward(self, input_ids: Tensor) -> Tensor:
        """The logits, each a little too large where rows have this one length."""
        logits: Tensor = self.classifier(input_ids)
        return logits + 0.01 if input_ids.size(1) == self.length else logits


class _CentredOverBatch(nn.Module):
    """What a batch norm left in training mode does: each answer depends on the other rows."""

    def forward(self, logits: Tensor) -> Tensor:
        """The logits less the mean of all rows."""
        return logits - logits.mean(0)


def _sibling(config: ModelConfig) -> GRUClassifier:
    """A model of the same sizes from another seed."""
    with own_random_numbers():
        torch.manual_seed(2)
        return GRUClassifier(config).eval().requires_grad_(False)


def _with_gru(classifier: GRUClassifier, gru: nn.Module) -> GRUClassifier:
    altered = copy.deepcopy(classifier)
    altered.rnn_lay = gru  # type: ignore[assignment]
    return altered.requires_grad_(False)


def _with_manifest(subject: Subject, manifest: Manifest) -> Subject:
    return dataclasses.replace(subject, manifest=manifest)


def _changed_answers(subject: Subject) -> int:
    """How many recorded labels the manifest's decision no longer gives."""
    return sum(
        int((subject.decision.labels_of(case.float64) != case.labels).sum())
        for case in subject.golden
        if case.labels is not None
    )


def _reshaped(subject: Subject, rows: int, columns: int) -> Subject:
    """Both formats with the ids forced into one shape; the lint lets no export do this."""
    model = copy.deepcopy(subject.model)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["frozen" if name == CHECKED_IDS else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array([rows, columns]), "frozen_shape"))
    place = 1 + next(i for i, node in enumerate(graph.node) if CHECKED_IDS in node.output)
    reshape = helper.make_node("Reshape", [CHECKED_IDS, "frozen_shape"], ["frozen"])
    graph.node.insert(place, reshape)
    module = nn.Sequential(_Reshape(rows, columns), subject.classifier)
    return dataclasses.replace(subject, module=module, model=model)


def _with_tail(subject: Subject, module: nn.Module, nodes: str) -> Subject:
    """Both formats with something after the logits: in ONNX, nodes that read `before`."""
    model = copy.deepcopy(subject.model)
    for node in model.graph.node:
        node.output[:] = ["before" if name == LOGITS else name for name in node.output]
    tail = parser.parse_graph(f"tail (float before) => (float {LOGITS}) {{ {nodes} }}")
    model.graph.node.extend(tail.node)
    return dataclasses.replace(subject, module=module, model=model)
