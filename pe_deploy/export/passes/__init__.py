"""Passes over an exported ONNX graph: each gives the same answers by less work."""

from pe_deploy.export.passes.gru_to_scan import gru_to_scan
from pe_deploy.export.passes.simplify import simplify

__all__ = ["gru_to_scan", "simplify"]
