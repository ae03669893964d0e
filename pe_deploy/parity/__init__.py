"""Evidence that two predictors are the same model."""

from pe_deploy.parity.assertion import assert_parity
from pe_deploy.parity.bundle import Reference, verify_bundle
from pe_deploy.parity.cases import golden_inputs, parity_cases, random_ids
from pe_deploy.parity.compare import CHECKS, verify
from pe_deploy.parity.render import ratio, save_report
from pe_deploy.parity.report import Cell, Report, load_report, worst
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import Predictor

__all__ = [
    "CHECKS",
    "Cell",
    "Predictor",
    "Reference",
    "Report",
    "Tolerance",
    "assert_parity",
    "golden_inputs",
    "load_report",
    "parity_cases",
    "random_ids",
    "ratio",
    "save_report",
    "verify",
    "verify_bundle",
    "worst",
]
