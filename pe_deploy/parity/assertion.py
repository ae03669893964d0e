"""Parity as an assertion, whose text says what is wrong and on which input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import overload

from pe_deploy.bundle.bundle import Bundle, open_bundle
from pe_deploy.config import Signature
from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.bundle import verify_bundle
from pe_deploy.parity.compare import verify
from pe_deploy.parity.render import ratio, repeat_line
from pe_deploy.parity.report import Report
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import ENGINES, Predictor, predictors

REFERENCE = "reference"

_ONNX = "onnx"
_CELLS_SHOWN = 3
_LONGEST_INPUT = 2000


@overload
def assert_parity(
    predictor: Predictor,
    reference: Predictor,
    signature: Signature,
    *,
    tolerance: Tolerance | None = None,
    name: str = "predictor",
) -> None: ...


@overload
def assert_parity(
    predictor: Predictor,
    *,
    bundle: str | Path | Bundle,
    tolerance: Tolerance | None = None,
    name: str = "predictor",
) -> None: ...


def assert_parity(
    predictor: Predictor,
    reference: Predictor | None = None,
    signature: Signature | None = None,
    *,
    bundle: str | Path | Bundle | None = None,
    tolerance: Tolerance | None = None,
    name: str = "predictor",
) -> None:
    """Assert that a predictor of your own is the same model as another, or as a bundle's.

    Against a bundle, its golden vectors, decisions and ONNX model are the reference, and set the
    floor; without one there is no floor, so state a `tolerance` unless both give the same bits.

    >>> from pe_deploy import OnnxClassifier
    >>> classifier = OnnxClassifier("models/demo")
    >>> assert_parity(classifier.predict_logits, bundle="models/demo")

    Args:
        predictor: from int64 `[batch, sequence]` to logits, of the shape that the signature states.
        reference: another such; with it give its `signature`, and no bundle.
        signature: what both take and give.
        bundle: the bundle's folder, or one that is already open.
        tolerance: how far apart two logits may be.
        name: what to call the predictor.

    Raises:
        AssertionError: naming the checks that failed, the worst cells and the smallest input.
        BundleError: the bundle does not open.
        InvalidInputError: neither a bundle nor a reference with its signature, or a name that the
            reference has.
    """
    __tracebackhide__ = True
    if name == (REFERENCE if bundle is None else _ONNX):
        raise InvalidInputError(f"name is {name!r}; allowed: another than the reference has")
    if bundle is not None and reference is None and signature is None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        own = [_ONNX] if ENGINES[_ONNX].file in opened.files else []
        engines = {**predictors(opened, own), name: predictor}
        report = verify_bundle(opened, engines=engines, tolerance=tolerance)
    elif bundle is None and reference is not None and signature is not None:
        both = {REFERENCE: reference, name: predictor}
        report = verify(both, signature, tolerance=tolerance)
    else:
        raise InvalidInputError(
            "assert_parity takes a bundle, or a reference and its signature, and not both"
        )
    if not report.passed:
        raise AssertionError(explain(report))


def explain(report: Report, bundle: str | None = None) -> str:
    """What failed in a report, in a few lines for a person; empty where nothing did.

    With the path of a `bundle` it ends with a line of shell that repeats the smallest failure.
    """
    failures = report.failures
    lines = []
    if failures:
        checks = ", ".join(check for check in report.failed_checks if check != "decisions")
        lines.append(
            f"{checks} failed in {len(failures)} of {len(report.cells)} cells, the worst first:"
        )
    for cell in failures[:_CELLS_SHOWN]:
        floor = report.floor_of(cell)
        far = f", {ratio(cell.error, floor)} the floor" if floor and not cell.problem else ""
        lines.append(f"  {cell}{far}")
    if len(failures) > _CELLS_SHOWN:
        lines.append(f"  and {len(failures) - _CELLS_SHOWN} more")
    lines += [f"decisions failed: {decided}" for decided in report.decisions if decided.unexplained]
    lines += [f"flips failed: {loss}" for loss in report.losses if loss.failed]
    if not lines:
        return "" if report.cells or report.decisions else "parity was judged on no cells at all"
    if failures:
        floor = report.floor_of(failures[0])
        lines.append(f"floor: {floor:.2g}, how far float32 torch itself is off at that length")
        allowed, rule = report.allowed(failures[0]), report.tolerance
        by = f", by {rule}"
        if allowed != rule.allowed(floor, failures[0].magnitude):
            by = "" if rule.is_stated else f", by 2 × ({rule}): both sides round"
        lines.append(f"allowed: {allowed:.2g}{by}")
    if report.smallest:
        cell, ids = min(report.smallest, key=lambda found: len(found[1]) * len(found[1][0]))
        shown = json.dumps(ids)
        if len(shown) > _LONGEST_INPUT:
            shown = f"{len(ids)} × {len(ids[0])} ids, too many to show"
            bundle = None
        lines.append(f"smallest failing input: {shown}")
        if bundle is not None and (line := repeat_line(cell, ids, bundle)) != shown:
            lines.append(f"repeat it: {line}")
    return "\n".join(lines)
