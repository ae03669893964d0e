"""What tests of JavaScript share: npm's packages, programs that end well, a page in a browser."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
PATIENCE = 300  # seconds; none of these programs takes ten


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose `node_modules` holds what package-lock.json names.

    It is large: the workers of one run share it, and the last to leave removes it.
    """
    npm = program("npm")
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
            unavailable(f"npm cannot reach its registry: {done.stderr.strip()}")
        pytest.fail(f"npm ci: {done.stderr}")


def program(*names: str) -> str:
    """Where one of these programs is; the test is skipped, or fails in CI, where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or unavailable(f"{' or '.join(names)} is not installed")


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail where it may not be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true these tests may not be skipped")
    pytest.skip(reason)


def browser() -> str:
    """A browser that has no window."""
    return program("chromium-headless-shell", "chromium")


def ended_well(command: Sequence[str], jobs: Any) -> Any:
    """What a program prints as JSON that is given JSON.

    Raises:
        AssertionError: it ended in any way but well.
    """
    done = subprocess.run(
        command,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def posted_by(browser: str, packages: Path, prepare: Callable[[Path], None]) -> Any:
    """What a page posts as JSON, opened in a browser.

    Args:
        browser: the program.
        packages: its `node_modules` is on the site.
        prepare: puts the site into a folder: `index.html`, which is opened, and what it needs.
    """
    posted: Queue[Any] = Queue()

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
        prepare(site)
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
