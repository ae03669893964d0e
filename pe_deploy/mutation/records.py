"""Faults beside the model: in labels, threshold and golden vectors."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import chain

import numpy as np
import torch
from torch import nn

from pe_deploy.config import Label
from pe_deploy.mutation.subject import Subject
from pe_deploy.training import GRUClassifier


def labels_exchanged(subject: Subject) -> Subject | str:
    """The label that is answered most stands for the class after it, and the other way round."""
    decided = [case.labels.ravel().tolist() for case in subject.golden if case.labels is not None]
    if not decided:
        return "the golden vectors record no labels"
    recorded = Counter(chain.from_iterable(decided))
    chosen = "+" if subject.manifest.signature.task == "multilabel" else None
    labels = list(subject.manifest.labels)
    if len(labels) < 2:
        return "the model has one label"

    def count(label: Label) -> int:
        return recorded[label if chosen is None else f"{chosen}{label}"]

    here = labels.index(max(labels, key=count))
    there = (here + 1) % len(labels)
    labels[here], labels[there] = labels[there], labels[here]
    return subject.with_manifest(labels=tuple(labels))


def threshold_moved(subject: Subject) -> Subject | str:
    """The threshold half way to the end at which more of the recorded answers change.

    At the very end, where no answer is so uncertain that half way changes it.
    """
    threshold = subject.manifest.threshold
    if threshold is None:
        return "a model with classes has no threshold"
    for ends in ((threshold / 2, (1 + threshold) / 2), (0.0, 1.0)):
        moved = max((subject.with_manifest(threshold=end) for end in ends), key=_changed_answers)
        if _changed_answers(moved):
            break
    return moved


def another_models_weights(subject: Subject) -> Subject:
    """Both forms with weights of the right shapes that are not the trained ones."""
    return subject.with_weights_of(_another_model(subject.classifier))


def another_models_golden(subject: Subject) -> Subject:
    """The models are right, and the golden vectors another's."""
    return subject.with_golden_of(_another_model(subject.classifier))


def _another_model(module: nn.Module) -> nn.Module:
    """A module of the same sizes from another seed: each weight drawn as widely as it is."""
    if isinstance(module, GRUClassifier):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            return GRUClassifier(module.config).eval().requires_grad_(False)
    another = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(2)
    for weight in another.parameters():
        spread = float(weight.std()) if weight.numel() > 1 else 1.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
    return another


def _changed_answers(subject: Subject) -> int:
    """How many recorded answers the manifest's decision no longer gives."""
    decision = subject.manifest.decision
    return sum(
        int(np.count_nonzero(decision.recorded(case.float64) != case.labels))
        for case in subject.golden
        if case.labels is not None
    )
