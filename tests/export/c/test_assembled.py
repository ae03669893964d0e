"""Models put together at random; a longer search is a larger range of seeds."""

from __future__ import annotations

from pathlib import Path

from pe_deploy import ExportError
from pe_deploy.export.c.source import to_c
from tests.export.c.assembled import Plan
from tests.export.c.library import Graph, Library
from tests.needs import need

SEEDS = range(300, 304)


def test_models_of_random_parts_answer_as_onnxruntime(tmp_path: Path) -> None:
    need("cc")
    plans = {f"seed_{seed}": Plan.drawn(seed) for seed in SEEDS}
    graphs = {}
    for name, plan in plans.items():
        graph = Graph.planned(plan)
        try:
            to_c(graph.model, graph.signature, graph.labels, name)
        except ExportError as error:
            assert "the form in C" in str(error)  # noqa: PT017 - each is refused by its own line
        else:
            graphs[name] = graph
    assert len(graphs) >= len(plans) - 1
    library = Library(tmp_path, graphs)
    for name in graphs:
        try:
            library.compare(name)
        except AssertionError as error:
            raise AssertionError(f"{plans[name].text()}\n{error}") from None
