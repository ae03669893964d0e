"""Export a trained module to a bundle."""

from pe_deploy.errors import requires_extra

with requires_extra("train"):
    from pe_deploy.export.comparison import compare
    from pe_deploy.export.exporter import Exported, export, export_module
    from pe_deploy.export.onnx import operators, to_onnx, to_throughput
    from pe_deploy.export.options import ExportOptions
    from pe_deploy.export.source import LabelledRows, Source
    from pe_deploy.export.torchscript import to_torchscript

__all__ = [
    "ExportOptions",
    "Exported",
    "LabelledRows",
    "Source",
    "compare",
    "export",
    "export_module",
    "operators",
    "to_onnx",
    "to_throughput",
    "to_torchscript",
]
