"""Sites in Chromium, and JavaScript of the page in Node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.web import make_site, publish
from pe_deploy.web.npm import engine_files
from tests.clients.javascript import browser, ended_well, packages, program

__all__ = ["packages"]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "pe_deploy/web/page/page"

Visit = Callable[..., Any]
Run = Callable[[str, Any], Any]


packed_once = cache(engine_files)


@pytest.fixture
def made(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Publish a bundle as a site in a folder, and give the folder."""

    def made(bundle: Path, folder: Path, **how: Any) -> Path:
        modules = packages / "node_modules"
        monkeypatch.setattr("pe_deploy.web.site.engine_files", packed_once)  # a second for each
        tokenizers = modules / "@huggingface/tokenizers"
        publish(
            make_site(bundle, modules / "onnxruntime-web", tokenizers=tokenizers, **how), folder
        )
        return folder

    return made


@pytest.fixture
def visit(packages: Path) -> Visit:
    """Do what one of scenarios.mjs does, in Chromium, with a served folder; what it found.

    Whatever it does, the page may log no error, ask no other server, and break no policy.
    """
    command = [program("node"), str(HERE / "visit.mjs"), str(packages), browser()]

    def visit(scenario: str, root: Path, quiet: bool = True, **given: Any) -> Any:
        job = {"scenario": scenario, "root": str(root), "given": given}
        done = ended_well(command, job)
        assert done["foreign"] == []
        assert not quiet or done["complaints"] == []
        return done["found"]

    return visit


@pytest.fixture(scope="session")
def in_node(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Call a function of calls.mjs with each of some values, in Node, without npm.

    What it gives for each, or `{"error": message}`.
    """
    node = program("node")
    folder = tmp_path_factory.mktemp("page")
    (folder / "package.json").write_text('{"type": "module"}')  # as a page's scripts are
    for script in (*PAGE.glob("*.js"), HERE / "calls.mjs"):
        shutil.copy(script, folder)

    def run(name: str, given: Any) -> Any:
        return ended_well([node, str(folder / "calls.mjs"), name], given)

    return run
