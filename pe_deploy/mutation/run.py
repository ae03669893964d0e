"""The checks checked: plant known faults one at a time, and see which check catches each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from pe_deploy import parity
from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import BundleError, ExportError, ParityError
from pe_deploy.export.c.source import to_c
from pe_deploy.export.compact import weight_bytes
from pe_deploy.export.eager import eager_predictor
from pe_deploy.export.lint import lint
from pe_deploy.export.onnx import expectation_of, scanned
from pe_deploy.export.passes.compact import compacted
from pe_deploy.export.refusals import (
    check_c_refuses,
    check_onnx_refuses,
    check_torchscript_refuses,
)
from pe_deploy.export.torchscript import to_torchscript
from pe_deploy.mutation.faults import FAULTS, PLACES, Fault
from pe_deploy.mutation.graphs import rarely_tried
from pe_deploy.mutation.outcomes import Outcome, Outcomes
from pe_deploy.mutation.subject import Subject
from pe_deploy.mutation.texts import TEXT_FAULTS, text_outcomes
from pe_deploy.parity import Predictor, verify
from pe_deploy.runtime.engines import ENGINES, predictors
from pe_deploy.runtime.floors import Floors
from pe_deploy.training import torch_threads
from pe_deploy.view.progress import expect

LINT = "lint"

CHECKS = (*parity.CHECKS, LINT)
"""Those of `parity.verify`, and the rules for a finished artifact: the lint of an ONNX graph, and
that bad inputs are refused."""

BATCHES = (1, 2, 7)

Files = Mapping[str, bytes]
"""Those of a bundle that hold the model in one form."""

_FILES = {place: (ENGINES[place].file,) for place in PLACES} | {"c": (C_SOURCE, C_HEADER)}


def self_test(
    bundle: Bundle,
    module: nn.Module | None = None,
    *,
    checks: Sequence[str] = CHECKS,
    faults: Sequence[Fault] = FAULTS,
    progress: Callable[[Outcome], None] | None = None,
) -> Outcomes:
    """Plant each fault into copies of a bundle's models, and say which checks catch it.

    The bundle itself goes first: a check that fails without a fault would seem to catch them all.

    Args:
        bundle: an open bundle with a `model.onnx`.
        module: the trained module, from ids to logits as the signature has them; not needed of a
            bundle that was exported from a checkpoint.
        checks: which of `CHECKS` to run.
        faults: what to plant.
        progress: called with each outcome.

    Raises:
        BundleError: the bundle holds no `model.onnx`.
        ExportError: the module cannot be built again from the bundle.
        ParityError: the bundle fails a check as it is.
    """
    with torch_threads(1):
        subject = Subject.of(bundle, module)
        checker = _Checker(subject, checks)
        places = [place for place in PLACES if place != "c" or C_SOURCE in bundle.files]
        expect(progress, len(faults) * len(places))
        if bundle.manifest.text is not None:
            expect(progress, len(TEXT_FAULTS))
        _check_control(bundle, subject, checker, places)
        outcomes = []
        for fault in faults:
            for outcome in _outcomes(fault, subject, checker, places):
                outcomes.append(outcome)
                if progress is not None:
                    progress(outcome)
        for outcome in text_outcomes(bundle):
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome)
    return Outcomes(outcomes)


def _outcomes(
    fault: Fault, subject: Subject, checker: _Checker, places: Sequence[str]
) -> Iterator[Outcome]:
    faulty = fault.plant(subject)
    for name in places:
        if isinstance(faulty, str):
            yield Outcome(fault.name, name, planted=False, note=faulty)
        elif name not in (formats := faulty.only or fault.formats):
            note = f"it is a fault of {', '.join(formats)} alone"
            yield Outcome(fault.name, name, planted=False, note=note)
        elif isinstance(files := _made(faulty, name), str):
            yield Outcome(fault.name, name, planted=False, note=files)
        else:
            caught_by, unseen = checker(faulty, name, files)
            yield Outcome(fault.name, name, caught_by, note=unseen)


def _check_control(
    bundle: Bundle, subject: Subject, checker: _Checker, places: Sequence[str]
) -> None:
    for name in places:
        # The published files too, not only their like that the self-test makes.
        published = {file: bundle.files[file] for file in _FILES[name] if file in bundle.files}
        for files in (_made(subject, name), published):
            if isinstance(files, str) or not files:
                continue
            failed, _ = checker(subject, name, files)
            if failed:
                raise ParityError(
                    f"{bundle.path} fails ({', '.join(failed)}) in {name} before any fault is "
                    "planted; a self-test needs a bundle that passes"
                )


class _Checker:
    """Runs the checks on one format at a time."""

    def __init__(self, good: Subject, checks: Sequence[str]) -> None:
        self.good = good
        self.checks = checks
        self.exact = _remembering(_exact(good))

    def __call__(
        self, subject: Subject, format_name: str, files: Files
    ) -> tuple[tuple[str, ...], str]:
        """The checks that an artifact fails; where none does, how near it came."""
        failed = set()
        if LINT in self.checks and self._breaks_rules(subject, format_name, files):
            failed.add(LINT)
        # Faults on the way from texts to ids are planted by themselves.
        manifest = dataclasses.replace(subject.manifest, text=None)
        try:
            engines = predictors(Bundle(Path("self-test"), manifest, files), [format_name])
        except BundleError:  # no app would run it either: that too is a rule for an artifact
            failed |= {LINT} & {*self.checks}
            return tuple(failed), "" if failed else "no classifier opens it"
        same = subject.trained is self.good.trained
        signature = subject.manifest.signature
        shortest, longest = signature.min_length, signature.max_length
        report = verify(
            engines,
            subject.manifest.signature,
            subject.golden,
            exact=self.exact if same else _exact(subject),
            decision=subject.manifest.decision,
            tolerance=subject.tolerance,
            floors=Floors.of_summary(subject.manifest.parity),
            checks=[check for check in self.checks if check != LINT],
            batches=BATCHES,
            lengths=sorted(
                {
                    shortest,
                    min(shortest + 1, longest),
                    (shortest + longest) // 2,
                    rarely_tried(signature),
                    longest,
                }
            ),
        )
        failed |= set(report.failed_checks)
        unseen = (
            f"where these checks look, no logit is off by more than {report.worst:.2g} "
            f"(allowed: {report.tolerance}, floor {report.floor:.2g}) and no label differs"
        )
        return tuple(check for check in CHECKS if check in failed), "" if failed else unseen

    def _breaks_rules(self, subject: Subject, format_name: str, files: Files) -> bool:
        signature, data = subject.manifest.signature, files[ENGINES[format_name].file]
        try:
            if format_name == "c":
                manifest = dataclasses.replace(subject.manifest, text=None)
                check_c_refuses(Bundle(Path("self-test"), manifest, files))
                return False
            if format_name == "torchscript":
                check_torchscript_refuses(data, signature)
                return False
            model = onnx.load_from_string(data)
            if lint(model, expectation_of(self.good.model, signature, format_name == "throughput")):
                return True
            check_onnx_refuses(data, signature, ENGINES[format_name].file)
        except ExportError:
            return True
        return False


def _made(subject: Subject, format_name: str) -> Files | str:
    """The files of a subject in one form; why there are none, where the graph has no such form."""
    (name, *_), manifest = _FILES[format_name], subject.manifest
    if format_name == "torchscript":
        guarded_for = subject.guarded_for or manifest.signature
        return {name: to_torchscript(subject.module, guarded_for)}
    if format_name == "c":
        try:
            made = to_c(subject.model, manifest.signature, manifest.labels)
        except ExportError as error:
            return str(error)
        return {C_SOURCE: made.source.encode(), C_HEADER: made.header.encode()}
    compact = manifest.compact
    model: onnx.ModelProto | None = subject.model
    if format_name == "throughput":
        model = scanned(subject.model, manifest.signature, weight_bytes(compact))
    if model is None:
        return "this graph has no form for large batches"
    if compact is not None:
        model = compacted(model, compact.dtype)
    return {name: bytes(model.SerializeToString())}


def _exact(subject: Subject) -> Predictor:
    return eager_predictor(subject.trained, subject.manifest.signature, torch.float64)


def _remembering(predict: Predictor) -> Predictor:
    """The same predictor, which works on no input twice: every fault is tried on the same ones."""
    answers: dict[tuple[tuple[int, ...], bytes], NDArray[np.floating[Any]]] = {}

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        key = (input_ids.shape, input_ids.tobytes())
        if key not in answers:
            answers[key] = predict(input_ids)
        return answers[key]

    return answer
