"""Passes over an exported ONNX graph: each gives the same answers by less work."""

from pe_deploy.export.passes.recurrent_to_scan import recurrent_to_scan
from pe_deploy.export.passes.simplify import simplify

__all__ = ["recurrent_to_scan", "simplify"]
