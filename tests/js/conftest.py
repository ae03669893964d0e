"""The JavaScript module in Node, in Node's WebAssembly and in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clients.javascript import browser, ended_well, packages, posted_by, program

__all__ = ["packages"]

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "js"

Job = dict[str, Any]
"""`{bundle, options, together, asks}`; see answer.mjs."""

Ask = Callable[[list[Job]], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def node(packages: Path) -> Ask:
    return _by_node(packages, "onnxruntime-node")


@pytest.fixture(scope="session", params=["Node", "a browser"])
def ask(request: pytest.FixtureRequest, packages: Path) -> Ask:
    """Each binding in turn: native, and WebAssembly."""
    if request.param == "a browser":
        return partial(_in_browser, browser(), packages)
    return _by_node(packages, "onnxruntime-node")


def _by_node(packages: Path, package: str) -> Ask:
    return partial(ended_well, [program("node"), str(HERE / "node.mjs"), str(packages), package])


def _in_browser(browser: str, packages: Path, jobs: list[Job]) -> list[dict[str, Any]]:
    def prepare(site: Path) -> None:
        shutil.copy(HERE / "browser.html", site / "index.html")
        shutil.copy(HERE / "answer.mjs", site)
        (site / "js").symlink_to(MODULE)
        for index, job in enumerate(jobs):
            (site / str(index)).symlink_to(job["bundle"])
        here = [{**job, "bundle": str(index)} for index, job in enumerate(jobs)]
        (site / "jobs.json").write_text(json.dumps(here))

    answers: list[dict[str, Any]] = posted_by(browser, packages, prepare)
    return answers
