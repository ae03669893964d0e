"""Programs that load a `model.onnx` by onnxruntime alone, in each of its bindings."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clients.javascript import HERE, browser, ended_well, packages, posted_by, program

__all__ = ["packages"]

Job = dict[str, Any]
Answers = list[list[dict[str, Any]]]
Client = Callable[[list[Job]], list[Answers]]
"""Takes jobs, as the programs describe them; gives of each, for each level, each request's answer.

Raises AssertionError where the program ended in any way but well.
"""


@pytest.fixture(scope="session")
def python() -> Client:
    return partial(ended_well, [sys.executable, str(HERE / "python.py")])


@pytest.fixture(scope="session", params=["Python", "Node", "web in Node", "web in a browser"])
def client(request: pytest.FixtureRequest, python: Client) -> Client:
    """Each binding in turn."""
    name = str(request.param)
    if name == "Python":
        return python
    packages = request.getfixturevalue("packages")
    if name == "web in a browser":
        return partial(_in_browser, browser(), packages)
    package = "onnxruntime-node" if name == "Node" else "onnxruntime-web"
    return partial(ended_well, [program("node"), str(HERE / "node.mjs"), str(packages), package])


def _in_browser(browser: str, packages: Path, jobs: list[Job]) -> list[Answers]:
    def prepare(site: Path) -> None:
        shutil.copy(HERE / "browser.html", site / "index.html")
        shutil.copy(HERE / "answer.mjs", site)
        for index, job in enumerate(jobs):
            shutil.copy(job["model"], site / f"{index}.onnx")
        (site / "jobs.json").write_text(json.dumps(jobs))

    answers: list[Answers] = posted_by(browser, packages, prepare)
    return answers
