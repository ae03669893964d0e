"""Evidence that two predictors are the same model."""

from pe_deploy.parity.assertion import assert_parity, explain
from pe_deploy.parity.cases import Case, golden_inputs, parity_cases, random_ids
from pe_deploy.parity.compare import CHECKS, verify
from pe_deploy.parity.decisions import Decisions
from pe_deploy.parity.render import (
    check_report_path,
    ratio,
    repeat_line,
    save_report,
    to_junit,
    to_markdown,
)
from pe_deploy.parity.report import Cell, Report, load_report, published_floor, worst
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import Predictor

__all__ = [
    "CHECKS",
    "Case",
    "Cell",
    "Decisions",
    "Predictor",
    "Report",
    "Tolerance",
    "assert_parity",
    "check_report_path",
    "explain",
    "golden_inputs",
    "load_report",
    "parity_cases",
    "published_floor",
    "random_ids",
    "ratio",
    "repeat_line",
    "save_report",
    "to_junit",
    "to_markdown",
    "verify",
    "worst",
]
