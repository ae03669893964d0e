"""The proof of a bundle: export, `verify`, replay, pytest and `assert_parity` all ask here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import MissingDependencyError
from pe_deploy.parity.cases import BATCHES
from pe_deploy.parity.compare import CHECKS, verify
from pe_deploy.parity.losses import Loss, losses
from pe_deploy.parity.report import Cell, Report
from pe_deploy.parity.texts import TEXTS, text_cells
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import ENGINES, Predictor, engines_of, predictors, runnable
from pe_deploy.runtime.floors import Floors
from pe_deploy.view.progress import shown

ALL_CHECKS = (*CHECKS, TEXTS)

REPLAY = ("golden", "padding", "batches", "decisions", TEXTS)
"""The checks that hold each engine against what was recorded, and against itself."""

AGAINST_REFERENCE = ("shapes", "tokens", "positions")
"""The checks that hold engines against exact torch, or against the first of them."""

_COARSE_BATCHES = (1, 7, 32)


class Reference(NamedTuple):
    """The module that a bundle was made of, in torch.

    Attributes:
        eager: in float32, which sets the floors.
        exact: in float64.
        trained: of a module whose weights were rounded, that with the trained ones, in float32.
        held_out: rows of the data to hold the two against each other on, int64 `[rows, sequence]`;
            by default those of the golden vectors that are.
    """

    eager: Predictor
    exact: Predictor
    trained: Predictor | None = None
    held_out: NDArray[np.int64] | None = None


def verify_bundle(
    bundle: Bundle,
    reference: Reference | None = None,
    *,
    engines: Mapping[str, Predictor] | None = None,
    checks: Sequence[str] = ALL_CHECKS,
    batches: Sequence[int] = BATCHES,
    independent: bool = False,
    tolerance: Tolerance | None = None,
    about: Mapping[str, str] | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Report:
    """Judge whether the models of a bundle are the one that was trained; see `verify`.

    Each is held against the golden vectors and itself, and against exact torch; without a
    `reference`, against the first engine instead. What torch's own rounding explains is measured
    with the reference, over every case, or is what the bundle was published with. Of rounded
    weights, what that cost is judged too where the reference has the trained ones.

    Args:
        bundle: an open bundle.
        reference: the trained module; its float32 form is judged like an engine, as "eager".
        engines: what to judge, the most trusted first; by default the bundle's own models. One that
            lacks a compiler is then named in `not_run`.
        checks: which of `ALL_CHECKS` to run; "texts" is nothing where the bundle takes ids alone.
        batches: the batch sizes of `shapes`.
        independent: whether engines that read `model.onnx` in their own way are judged too, on a
            coarse grid, as one is slow. One that cannot be imported is named in `not_run`.
        tolerance: how far apart two logits may be.
        about: what to record of the machine and the engines.
        progress: called with each finished cell, as by `verify`; a notebook shows a bar without.

    Raises:
        BundleError: a model does not load, or the bundle holds no golden vectors.
        MissingDependencyError: an engine of the bundle's own models is not installed.
        InvalidInputError: no engine, or a check that there is not.
    """
    manifest = bundle.manifest
    of_texts = text_cells(bundle, progress) if TEXTS in checks and manifest.text else ()
    checks = [check for check in checks if check != TEXTS]
    if of_texts and not checks:
        known = Floors.of_summary(manifest.parity)
        return Report(tolerance or Tolerance(), known, of_texts, about=about or {})
    not_run: dict[str, str] = {}
    if engines is None:
        own, not_run = runnable(engines_of(bundle))
        engines = predictors(bundle, own)
    judged = dict(engines)
    exact = None if reference is None else reference.exact
    if reference is not None:
        judged = {"eager": reference.eager, **judged}
    # A part of the cases may by chance show less of torch's own error than the whole.
    whole = reference is not None and batches == BATCHES and {"shapes", "tokens"} <= {*checks}
    floors = Floors.of_summary(manifest.parity)
    if not floors.by_length and not {*checks} & {*AGAINST_REFERENCE}:
        floors = Floors()  # golden vectors show a nearer one than the single one of all lengths
    with shown("verify", progress) as told:
        report = verify(
            judged,
            manifest.signature,
            bundle.golden(),
            exact=exact,
            exact_beside=True,
            decision=manifest.decision,
            tolerance=tolerance,
            floors=None if whole else floors,
            floor_from="eager",
            checks=checks,
            batches=batches,
            about=about,
            progress=told,
        )
        report = dataclasses.replace(
            report,
            cells=report.cells + of_texts,
            not_run=not_run,
            losses=_losses(bundle, reference) if report.passed and "decisions" in checks else (),
        )
        if not independent:
            return report
        others: dict[str, Predictor] = {}
        for engine in ENGINES.values():
            if engine.independent and engine.file in bundle.files:
                try:
                    others[engine.name] = engine.predictor(bundle)
                except MissingDependencyError as error:
                    not_run[engine.name] = str(error)
        if not others:
            return dataclasses.replace(report, not_run=not_run)
        first = {} if exact else dict([next(iter(judged.items()))])
        shortest, longest = manifest.signature.min_length, manifest.signature.max_length
        half = -(-longest // 2)
        coarse = verify(
            {**first, **others},
            manifest.signature,
            exact=exact,
            exact_beside=True,
            tolerance=tolerance,
            floors=report.floors,
            checks=AGAINST_REFERENCE,
            batches=_COARSE_BATCHES,
            lengths=sorted({shortest, min(shortest + 1, longest), max(shortest, half), longest}),
            progress=told,
        )
        return dataclasses.replace(
            report,
            cells=report.cells + coarse.cells,
            smallest=report.smallest + coarse.smallest,
            not_run=not_run,
        )


def _losses(bundle: Bundle, reference: Reference | None) -> tuple[Loss, ...]:
    """What rounding its weights cost a bundle; nothing where they were not, or cannot be had."""
    manifest = bundle.manifest
    if manifest.compact is None or reference is None or reference.trained is None:
        return ()
    held_out = reference.held_out
    if held_out is None:
        real = (case.input_ids for case in bundle.golden() if case.targets is not None)
        held_out = next(real, None)
    return losses(
        reference.eager,
        reference.trained,
        manifest.signature,
        manifest.decision,
        held_out,
        manifest.compact.allow_flips,
    )
