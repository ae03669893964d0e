"""The engines that read a graph in their own way, on a graph that is in no bundle."""

from __future__ import annotations

from pe_deploy.runtime.engines import ENGINES, Predictor


def reference_runtimes(model: bytes) -> dict[str, Predictor]:
    """Those that are installed, by name, each on the bytes of a `model.onnx`."""
    return {
        engine.name: engine.load()(model)
        for engine in ENGINES.values()
        if engine.independent and not engine.missing
    }
