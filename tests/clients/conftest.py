"""Programs that load a `model.onnx` by onnxruntime alone, in each of its bindings."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
PATIENCE = 300  # seconds; none of these programs takes ten

Job = dict[str, Any]
Answers = list[list[dict[str, Any]]]
Client = Callable[[list[Job]], list[Answers]]
"""Takes jobs, as the programs describe them; gives of each, for each level, each request's answer.

Raises AssertionError where the program ended in any way but well.
"""


@pytest.fixture(scope="session")
def python() -> Client:
    return partial(_ended_well, [sys.executable, str(HERE / "python.py")])


@pytest.fixture(scope="session", params=["Python", "Node", "web in Node", "web in a browser"])
def client(request: pytest.FixtureRequest, python: Client) -> Client:
    """Each binding in turn."""
    name = str(request.param)
    if name == "Python":
        return python
    packages = request.getfixturevalue("packages")
    if name == "web in a browser":
        return partial(_in_browser, _program("chromium-headless-shell", "chromium"), packages)
    package = "onnxruntime-node" if name == "Node" else "onnxruntime-web"
    node = _program("node")
    return partial(_ended_well, [node, str(HERE / "node.mjs"), str(packages), package])


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose `node_modules` holds what package-lock.json names.

    It is large: the workers of one run share it, and the last to leave removes it.
    """
    npm = _program("npm")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clients"
    folder.mkdir(exist_ok=True)
    installed = folder / "installed"
    with (folder / "lock").open("w") as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if installed.exists():
                break
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not installed.exists():
                _install(npm, folder)
                installed.touch()
        yield folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        installed.unlink()
        shutil.rmtree(folder / "node_modules")


def _install(npm: str, folder: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / name, folder)
    done = subprocess.run([npm, "ci"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        unreachable = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT")
        if any(code in done.stderr for code in unreachable):
            _unavailable(f"npm cannot reach its registry: {done.stderr.strip()}")
        pytest.fail(f"npm ci: {done.stderr}")


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    return found or _unavailable(f"{' or '.join(names)} is not installed")


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true these tests may not be skipped")
    pytest.skip(reason)


def _ended_well(command: list[str], jobs: list[Job]) -> list[Answers]:
    done = subprocess.run(
        command,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    answers: list[Answers] = json.loads(done.stdout)
    return answers


def _in_browser(browser: str, packages: Path, jobs: list[Job]) -> list[Answers]:
    posted: Queue[list[Answers]] = Queue()

    class Site(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with tempfile.TemporaryDirectory(prefix="pe_deploy-") as folder:
        site, profile = Path(folder, "site"), Path(folder, "profile")
        site.mkdir()
        shutil.copy(HERE / "browser.html", site / "index.html")
        shutil.copy(HERE / "answer.mjs", site)
        for index, job in enumerate(jobs):
            shutil.copy(job["model"], site / f"{index}.onnx")
        (site / "jobs.json").write_text(json.dumps(jobs))
        (site / "node_modules").symlink_to(packages / "node_modules")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, "--headless", "--no-sandbox", f"--user-data-dir={profile}"]
        with subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what it starts ends with it
        ) as process:
            try:
                return posted.get(timeout=PATIENCE)
            finally:
                alive = process.poll() is None
                os.killpg(process.pid, signal.SIGKILL)
                server.shutdown()
                server.server_close()
                assert alive, f"{browser} ended with exit code {process.returncode}"
