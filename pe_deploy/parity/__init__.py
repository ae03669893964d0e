"""Evidence that two predictors are the same model."""

from pe_deploy.parity.cases import Case, golden_inputs, parity_cases, random_ids
from pe_deploy.parity.compare import Predictor, Tolerance, verify
from pe_deploy.parity.report import Cell, Report, worst

__all__ = [
    "Case",
    "Cell",
    "Predictor",
    "Report",
    "Tolerance",
    "golden_inputs",
    "parity_cases",
    "random_ids",
    "verify",
    "worst",
]
