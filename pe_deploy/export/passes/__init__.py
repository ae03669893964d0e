"""Passes over an exported ONNX graph: each gives the same answers by less work."""

from pe_deploy.export.passes.lean import lean
from pe_deploy.export.passes.scan import scan

__all__ = ["lean", "scan"]
