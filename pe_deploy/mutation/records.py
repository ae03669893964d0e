"""Faults beside the model: in labels, threshold and golden vectors."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import torch

from pe_deploy.model_config import ModelConfig
from pe_deploy.mutation.subject import Subject
from pe_deploy.training import GRUClassifier


def labels_exchanged(subject: Subject) -> Subject | str:
    """The label that is answered most stands for the class after it, and the other way round."""
    decided = [case.labels.tolist() for case in subject.golden if case.labels is not None]
    recorded = Counter(chain.from_iterable(decided))
    if not recorded:
        return "the golden vectors record no labels"
    labels = list(subject.manifest.labels)
    here = labels.index(max(labels, key=lambda label: recorded[label]))
    there = (here + 1) % len(labels)
    labels[here], labels[there] = labels[there], labels[here]
    return subject.with_manifest(labels=tuple(labels))


def threshold_moved(subject: Subject) -> Subject | str:
    """The threshold half way to the end at which more of the recorded answers change."""
    threshold = subject.manifest.threshold
    if threshold is None:
        return "a model with classes has no threshold"
    ends = (threshold / 2, (1 + threshold) / 2)
    return max((subject.with_manifest(threshold=end) for end in ends), key=_changed_answers)


def another_models_weights(subject: Subject) -> Subject:
    """Both forms with weights of the right shapes that are not the trained ones."""
    return subject.with_weights_of(_another_model(subject.classifier.config))


def another_models_golden(subject: Subject) -> Subject:
    """The models are right, and the golden vectors another's."""
    return subject.with_golden_of(_another_model(subject.classifier.config))


def _another_model(config: ModelConfig) -> GRUClassifier:
    """A model of the same sizes from another seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return GRUClassifier(config).eval().requires_grad_(False)


def _changed_answers(subject: Subject) -> int:
    """How many recorded labels the manifest's decision no longer gives."""
    return sum(
        int((subject.manifest.decision.labels_of(case.float64) != case.labels).sum())
        for case in subject.golden
        if case.labels is not None
    )
