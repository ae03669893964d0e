"""The README's table of places to run: each command of it is run, where its extra is."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.javascript import packages as packages
from tests.conftest import MADE
from tests.needs import need
from tests.scale.test_uris import OFFLINE, client
from tests.scale.test_uris import server as server

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "README.md").read_text().split("## Where it runs\n")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^\| .+ \| `(.+)` \|$", TABLE, flags=re.M)

PATIENCE = 300


def run(command: str, folder: Path, **environment: str) -> str:
    """What it prints, run as in a shell whose first program is this Python's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def in_python(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    run(command, folder)


def serving(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    need("uvicorn", "typer")
    from tests.serve.running import Server

    words = [*shlex.split(command), "--http-port", "0", "--grpc-port", "0"]
    assert words[0] == "pe-deploy"
    with subprocess.Popen(
        [sys.executable, "-m", "pe_deploy", *words[1:]],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        server = Server(process)
        server.line("Ready")
        answer = server.ask("/v1/models/demo:predict", {"instances": [[0, 16, 8]]})
        assert answer.status == 200
        assert server.ends(signal.SIGTERM) == 0


def layout(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    run(command, folder)
    assert (folder / "model_repository/demo/1/model.onnx").is_file()


def of_a_folder(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    if "--engine ray" in command:
        need("ray")
    if "--engine spark" in command:
        need("pyspark", "java")
    (folder / "rows").mkdir()
    held_out = folder / "models/demo-held-out.csv"
    for name in ("a.csv", "b.csv"):
        shutil.copy(held_out, folder / "rows" / name)
    if "s3://" in command:
        need("moto")
        address = request.getfixturevalue("server")
        store = client(address)
        store.create_dir("bucket")
        for name in ("a.csv", "b.csv"):
            with store.open_output_stream(f"bucket/rows/{name}") as file:
                file.write(held_out.read_bytes())
        there = f"?endpoint_override={address}&scheme=http"
        run(re.sub(r"(s3://\S+)", rf"\1{there}", command), folder, **OFFLINE)
        with store.open_input_stream("bucket/answers/b.csv") as file:
            text = file.read().decode()
    else:
        run(command, folder)
        text = (folder / "answers/b.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 359
    assert sum(row["label"] == row["predicted_label"] for row in rows) > 0.93 * len(rows)


def by_npm(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    installed = request.getfixturevalue("packages") / "node_modules"
    shutil.copytree(ROOT / "js", folder / "js")
    # What the registry would give is there already, built.
    (folder / ".npmrc").write_text("ignore-scripts=true\n")
    run(command.replace("onnxruntime-node", str(installed / "onnxruntime-node")), folder)
    (folder / "app.mjs").write_text(
        'import * as ort from "onnxruntime-node";\n'
        'import { open } from "pe-deploy";\n'
        'const classifier = await open("models/demo", ort);\n'
        "console.log((await classifier.predict([[0, 16, 8]])).length);\n"
    )
    assert run("node app.mjs", folder) == "1\n"


def page(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    installed = request.getfixturevalue("packages") / "node_modules"
    (folder / "node_modules").symlink_to(installed)
    run(command, folder)
    assert (folder / "site/index.html").is_file()


def in_c(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    need("cc")
    shutil.copytree(MADE / "c_plain", folder / "models/mine")
    run(command, folder)
    assert float(run("sh -c 'echo 3 1 4 | ./mine'", folder))


TRIED: dict[str, Callable[[str, Path, pytest.FixtureRequest], None]] = {
    "python -c": in_python,
    "cc ": in_c,
    "pe-deploy serve": serving,
    "pe-deploy layout": layout,
    "pe-deploy predict": of_a_folder,
    "npm install": by_npm,
    "pe-deploy web": page,
}


def test_the_table_is_found() -> None:
    assert len(COMMANDS) == len([line for line in TABLE.splitlines() if line.startswith("| ")]) - 2
    assert all(any(map(command.startswith, TRIED)) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    tried = next(way for start, way in TRIED.items() if command.startswith(start))
    tried(command, folder, request)
