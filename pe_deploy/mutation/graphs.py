"""Faults in what is computed, made in the torch module and, by the exporter or by hand, in ONNX."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from onnx import helper, numpy_helper, parser
from torch import nn

from pe_deploy.config import LOGITS, Signature
from pe_deploy.export.adapt.adapter import IdsToLogits
from pe_deploy.export.guards import CHECKED_IDS, unguarded
from pe_deploy.mutation.modules import (
    CentredOverBatch,
    MixedUp,
    ResetFirst,
    Reshape,
    WrongAtOneLength,
    with_gru,
)
from pe_deploy.mutation.subject import Subject
from pe_deploy.training import GRUClassifier

FROZEN_ROWS = 2
"""A batch that the checks try, so that a frozen one is right there and wrong elsewhere."""


_OF_THE_NOTEBOOK = "it is planted into the notebook's architecture alone"


def linear_before_reset_flipped(subject: Subject) -> Subject | str:
    """The other formula of a GRU: the default of ONNX, where torch's is the exception."""
    model, classifier = copy.deepcopy(subject.model), subject.classifier
    if not any(node.op_type == "GRU" for node in model.graph.node):
        return "the model has no GRU"
    if isinstance(classifier, GRUClassifier):
        module: nn.Module = with_gru(classifier, ResetFirst(classifier.rnn_lay))
        only = None
    else:
        module, only = classifier, ("onnx",)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "linear_before_reset":
                attribute.i = 0
    return dataclasses.replace(subject, module=module, model=model, only=only)


def first_layers_state(subject: Subject) -> Subject | str:
    """The head reads the first layer's last state instead of the last layer's."""
    if not isinstance(subject.classifier, GRUClassifier):
        return _OF_THE_NOTEBOOK
    whole = subject.classifier.rnn_lay
    if whole.num_layers == 1:
        return "the model has one layer"
    # torch starts from new weights here, which are all replaced.
    with torch.random.fork_rng(devices=[]):
        first = nn.GRU(whole.input_size, whole.hidden_size, batch_first=True)
    first.load_state_dict({name: whole.state_dict()[name] for name in first.state_dict()})
    return subject.made_of(with_gru(subject.classifier, first))


def batch_and_sequence_mixed_up(subject: Subject) -> Subject | str:
    """The GRU takes rows for time steps."""
    if not isinstance(subject.classifier, GRUClassifier):
        return _OF_THE_NOTEBOOK
    return subject.made_of(with_gru(subject.classifier, MixedUp(subject.classifier.rnn_lay)))


def frozen_batch(subject: Subject) -> Subject:
    """Every batch is read as one of the sample's size."""
    return _reshaped(subject, FROZEN_ROWS, -1)


def frozen_sequence(subject: Subject) -> Subject:
    """Every row is read as one of the greatest length."""
    return _reshaped(subject, -1, subject.manifest.signature.max_length)


def padding_counted(subject: Subject) -> Subject | str:
    """Padding is read as if it were tokens."""
    signature = subject.manifest.signature
    if signature.pad_id is None:
        return "the model has no padding"
    module = copy.deepcopy(subject.classifier)
    if isinstance(module, GRUClassifier):
        module.pad_id = None
    elif isinstance(module, IdsToLogits) and module.call.seconds:
        module.signature = dataclasses.replace(signature, pad_id=None)
    else:
        return "the module finds its padding itself"
    return subject.made_of(module)


def sigmoid_too_many(subject: Subject) -> Subject:
    """Probabilities leave the graph where logits should."""
    module = nn.Sequential(subject.classifier, nn.Sigmoid())
    return _with_tail(subject, module, "logits = Sigmoid(before)")


def rarely_tried(signature: Signature) -> int:
    """Neither the longest nor a short length, which golden vectors and others try too."""
    return max(signature.min_length, signature.max_length - 2)


def wrong_at_one_length(subject: Subject) -> Subject:
    """Wrong at one length, and right at every other."""
    length = rarely_tried(subject.manifest.signature)
    return _with_tail(
        subject,
        WrongAtOneLength(subject.classifier, length),
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


def mixing_rows(subject: Subject) -> Subject:
    """Each answer depends on the other rows of its batch."""
    return _with_tail(
        subject,
        nn.Sequential(subject.classifier, CentredOverBatch()),
        """
            rows = Constant<value_ints=[0]>()
            mean = ReduceMean(before, rows)
            logits = Sub(before, mean)
        """,
    )


def axes_without_names(subject: Subject) -> Subject:
    """The free axes of the ONNX graph are free, and nameless."""
    model = copy.deepcopy(subject.model)
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            axis.ClearField("dim_param")
    return dataclasses.replace(subject, model=model)


def guards_left_out(subject: Subject) -> Subject:
    """Nothing refuses an input that the signature does not allow."""
    model = unguarded(subject.model, subject.manifest.signature)
    anything = Signature(vocab_size=2**31 - 1, max_length=2**31 - 1)
    only = None if subject.scriptable else ("onnx",)
    return dataclasses.replace(subject, model=model, guarded_for=anything, only=only)


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
    module = nn.Sequential(Reshape(rows, columns), subject.classifier)
    return dataclasses.replace(subject, module=module, model=model, only=_forms(subject))


def _with_tail(subject: Subject, module: nn.Module, nodes: str) -> Subject:
    """Both formats with something after the logits: in ONNX, nodes that read `before`."""
    model = copy.deepcopy(subject.model)
    for node in model.graph.node:
        node.output[:] = ["before" if name == LOGITS else name for name in node.output]
    tail = parser.parse_graph(f"tail (float before) => (float {LOGITS}) {{ {nodes} }}")
    model.graph.node.extend(tail.node)
    return dataclasses.replace(subject, module=module, model=model, only=_forms(subject))


def _forms(subject: Subject) -> tuple[str, ...] | None:
    """Where a fault round a module is planted: a trace of it would follow no other shape."""
    return None if subject.scriptable else ("onnx", "throughput", "c")
