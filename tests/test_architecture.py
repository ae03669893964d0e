"""docs/architecture.md draws the house as it is built."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest
from importlinter.api import read_configuration

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
DRAWINGS = re.findall(r"```mermaid\n(.*?)```", PAGE, flags=re.S)


def modules_of(drawing: str) -> dict[str, str]:
    """From each square node to its module; what is no module is drawn in another shape."""
    nodes = re.findall(r'\b(\w+)\["([\w.]+)"\]', drawing)
    return {node: f"pe_deploy.{name}" for node, name in nodes}


def calls_of(drawing: str) -> list[tuple[str, str]]:
    """The two modules at the ends of each arrow."""
    modules = modules_of(drawing)
    nodes_by_name = re.sub(r'[\[(]+"[^"]*"[\])]+', "", drawing)
    arrows = re.findall(r"(\w+) -->(?:\|[^|]*\|)? (\w+)", nodes_by_name)
    return [(modules[a], modules[b]) for a, b in arrows if a in modules and b in modules]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pe_deploy")


@pytest.fixture(scope="module")
def depths() -> dict[str, int]:
    """How far down each wing is, in the layers of pyproject.toml."""
    (contract,) = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return {
        wing: depth for depth, layer in enumerate(contract["layers"]) for wing in layer.split(" | ")
    }


def test_there_are_four_drawings() -> None:
    assert [len(calls_of(drawing)) > 8 for drawing in DRAWINGS] == [True] * 4


@pytest.mark.parametrize("drawing", DRAWINGS, ids=["export", "c", "predict", "serve"])
def test_each_node_is_a_module(drawing: str, imports: grimp.ImportGraph) -> None:
    assert set(modules_of(drawing).values()) <= imports.modules


@pytest.mark.parametrize("drawing", DRAWINGS, ids=["export", "c", "predict", "serve"])
def test_each_arrow_is_an_import_that_goes_down(
    drawing: str, imports: grimp.ImportGraph, depths: dict[str, int]
) -> None:
    for importer, imported in calls_of(drawing):
        above, below = (depths[".".join(name.split(".")[:2])] for name in (importer, imported))
        assert above <= below, f"{importer} is below {imported}"
        chain = imports.find_shortest_chain(importer, imported)
        # A wing may be asked through its face, or a module through its base class.
        assert chain is not None, f"{importer} does not import {imported}"
        assert len(chain) <= 3, f"{importer} imports {imported} by {' and '.join(chain[1:-1])}"


def test_each_room_is_described_and_each_layer_is_a_room(depths: dict[str, int]) -> None:
    rooms = PAGE.split("## The rooms")[1].split("\n## ")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", rooms, flags=re.M))
    packages = {path.parent.name for path in (ROOT / "pe_deploy").glob("*/__init__.py")}
    assert packages <= described
    assert described == {wing.removeprefix("pe_deploy.") for wing in depths}
