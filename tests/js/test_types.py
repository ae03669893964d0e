"""The hand-written types are those of the module, and an app in TypeScript compiles with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.clients.javascript import program

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "js"


def test_an_app_in_typescript_compiles(packages: Path, tmp_path: Path) -> None:
    shutil.copy(HERE / "consumer.mts", tmp_path)
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for package in (packages / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    (modules / "pe-deploy").symlink_to(MODULE)
    compiler = str(modules / "typescript/bin/tsc")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "preserve"]
    command = [program("node"), compiler, *options, "--types", "node", "--lib", "es2022,dom"]
    done = subprocess.run(
        [*command, "consumer.mts"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_export_has_a_type(tmp_path: Path) -> None:
    module = (MODULE / "pe-deploy.mjs").as_uri()
    code = f"import * as all from '{module}'; console.log(Object.keys(all).join())"
    command = [program("node"), "--input-type=module", "-e", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    types = (MODULE / "pe-deploy.d.mts").read_text()
    declared = set(re.findall(r"^export (?:class|function) (\w+)", types, re.MULTILINE))
    assert declared == set(done.stdout.strip().split(","))
