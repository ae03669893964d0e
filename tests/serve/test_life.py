"""A server from its start to its end: ready, stopped under load, several processes, failures."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import InvalidInputError, PredictionError, open_bundle
from pe_deploy.bundle.artifacts import GOLDEN
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_to_bytes
from tests.serve.conftest import BUNDLES
from tests.serve.running import PATIENCE, Server, command, ids_request, running

NOTEBOOK = BUNDLES / "notebook"
INFER = "/v2/models/notebook/infer"
GOOD = ids_request([[1, 2, 3]])


class Client(threading.Thread):
    """Asks over one connection until it is told that the server stops, or cannot connect."""

    def __init__(self, address: str, together: threading.Barrier) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        self._together = together

    def run(self) -> None:
        body = json.dumps(GOOD)
        self._together.wait()
        for _ in range(100_000):
            try:
                self._connection.request("POST", INFER, body)
            except ConnectionRefusedError:
                self.seen["refused"] += 1
                return
            try:
                response = self._connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.seen[f"lost: {error!r}"] += 1
                return
            if response.status == 503:
                self.seen["told"] += "stops" in answer["error"]
                return
            self.seen["answered"] += "outputs" in answer


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_no_request(workers: int) -> None:
    with running([NOTEBOOK], "--workers", str(workers)) as server:
        together = threading.Barrier(17)
        clients = [Client(server.http, together) for _ in range(16)]
        for client in clients:
            client.start()
        together.wait()
        while sum(client.seen["answered"] for client in clients) < 500:
            assert server.process.poll() is None
        assert server.ends(signal.SIGTERM) == 0
        for client in clients:
            client.join()
    seen = sum((client.seen for client in clients), Counter[str]())
    assert set(seen) <= {"answered", "told", "refused"}, seen
    assert seen["told"] + seen["refused"] == len(clients)


def test_ctrl_c_is_130_and_one_line() -> None:
    for workers in ("1", "2"):
        with running([NOTEBOOK], "--workers", workers) as server:
            assert server.ends(signal.SIGINT) == 130
        assert server.lines[-1] == "pe-deploy: interrupted"
        assert len(server.lines) == 3


def test_several_processes_answer_and_count_together() -> None:
    with running([NOTEBOOK], "--workers", "2") as server:
        for _ in range(40):
            assert server.ask(INFER, GOOD).status == 200
        assert server.ask("/v2/health/ready").json == {"ready": True}
        line = 'pe_deploy_requests_total{model="notebook",protocol="v2"} 40.0'
        assert line in server.ask("/metrics").body.decode().splitlines()
        assert server.ends() == 0


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(NOTEBOOK, tmp_path / "notebook"))
    with running([copied], "--workers", "2", "--no-grpc") as server:
        # What lies in the folder by then is another matter: all serve the same.
        (copied / "model.onnx").unlink()
        os.kill(_workers_of(server)[0], signal.SIGKILL)
        server.line(r"worker \d ended with -9; restarted")
        for _ in range(40):
            assert server.ask(INFER, GOOD).status == 200
        assert server.ends() == 0


def test_workers_end_with_the_process_that_started_them() -> None:
    with running([NOTEBOOK], "--workers", "2", "--no-grpc") as server:
        workers = _workers_of(server)
        assert len(workers) == 2
        server.process.kill()
        server.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _workers_of(server: Server) -> list[int]:
    """The processes that serve: those that spawn made, without the tracker of its resources."""
    if not Path("/proc/self/task").exists():
        pytest.skip("/proc is not there, to find the workers in")
    main = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    children = map(int, main.read_text().split())
    return [n for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]


def _fails(*arguments: Any) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1, done
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    return next(line for line in lines if line.startswith("pe-deploy: "))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bundle_that_is_damaged_or_missing_is_not_served(tmp_path: Path, workers: str) -> None:
    copied = Path(shutil.copytree(NOTEBOOK, tmp_path / "damaged"))
    model = bytearray((copied / "model.onnx").read_bytes())
    model[999] ^= 1
    (copied / "model.onnx").write_bytes(model)
    line = _fails([NOTEBOOK, copied], "--workers", workers)
    assert line.startswith(f"pe-deploy: {copied}/model.onnx was changed after it was published")
    assert "is not a folder" in _fails([tmp_path / "none"], "--workers", workers)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_answers_otherwise_is_never_ready(tmp_path: Path, workers: str) -> None:
    copied = Path(shutil.copytree(NOTEBOOK, tmp_path / "other"))
    bundle = open_bundle(copied)
    moved = [GoldenCase(c.input_ids, c.float64 + 1e-3, c.float32 + 1e-3) for c in bundle.golden()]
    golden = golden_to_bytes(moved, bundle.manifest.weights_sha256)
    write_bundle(copied, bundle.manifest, {**bundle.files, GOLDEN: golden})
    assert "golden" in _fails([copied], "--workers", workers)


def test_names(tmp_path: Path) -> None:
    spaced = Path(shutil.copytree(NOTEBOOK, tmp_path / "my model"))
    assert "name is 'my model'; allowed: letters, digits" in _fails([spaced])
    assert "two bundles are called 'notebook'" in _fails([NOTEBOOK, NOTEBOOK])
    assert "--name is given 1 times; allowed: 2" in _fails([NOTEBOOK, spaced], "--name", "a")
    with running([spaced, NOTEBOOK], "--name", "mine", "--name", "other", "--no-grpc") as server:
        assert server.ask("/v1/models").json == {"models": ["mine", "other"]}
        assert "grpc" not in server.lines[0]


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for option in ("--http-port", "--grpc-port"):
            line = _fails([NOTEBOOK], option, port)
            assert line.startswith(f"pe-deploy: cannot listen at 127.0.0.1:{port}: ")
    assert "cannot listen at nowhere.invalid:0" in _fails([NOTEBOOK], "--host", "nowhere.invalid")


def test_it_is_live_before_it_is_ready() -> None:
    from pe_deploy.serve.model import Model, Settings
    from pe_deploy.serve.rest import application
    from pe_deploy.serve.serving import Serving

    serving = Serving([Model("notebook", open_bundle(NOTEBOOK), Settings(1, 64))], threads=1)
    app = application(serving)

    def ask(path: str, body: bytes = b"") -> tuple[int, Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "path": path,
            "method": "POST" if body else "GET",
            "headers": [],
            "query_string": b"",
            "root_path": "",
        }
        asyncio.run(app(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    def everything() -> list[int]:
        paths = ("/v2/health/ready", "/v2/models/notebook/ready", "/v1/models/notebook")
        return [*(ask(path)[0] for path in paths), ask(INFER, json.dumps(GOOD).encode())[0]]

    assert ask("/v2/health/live") == (200, {"live": True})
    assert everything() == [503] * 4
    refused = ask(INFER, json.dumps(GOOD).encode())[1]
    assert re.fullmatch("model notebook is not ready: .*", refused["error"])
    serving.load()
    assert everything() == [200] * 4


def test_requests_that_wait_together_are_answered_apart() -> None:
    """Good ones and bad ones of several lengths at once, each as if it had come alone."""
    from pe_deploy import OnnxClassifier

    rng = np.random.default_rng(3)
    requests = [rng.integers(0, 13, (1 + n % 3, 1 + n % 10)) for n in range(400)]
    answers: dict[int, Any] = {}

    def ask(start: int, address: str) -> None:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        for number in range(start, len(requests), 16):
            connection.request("POST", INFER, json.dumps(ids_request(requests[number])))
            answers[number] = json.loads(connection.getresponse().read())
        connection.close()

    with running([NOTEBOOK]) as server:
        threads = [threading.Thread(target=ask, args=(n, server.http)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    classifier = OnnxClassifier(NOTEBOOK)
    for number, ids in enumerate(requests):
        if (ids > 11).any():
            with pytest.raises(InvalidInputError) as caught:
                classifier.predict(ids)
            assert answers[number] == {"error": str(caught.value)}
        else:
            found = {tensor["name"]: tensor for tensor in answers[number]["outputs"]}
            logits = classifier.predict_logits(ids)
            np.testing.assert_allclose(found["logits"]["data"], logits, atol=1e-5)
            assert found["label"]["data"] == classifier.predict(ids).tolist()


def test_an_answer_that_fails_is_no_other_requests_fault() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from pe_deploy.serve.batching import Batches

    class Toy:
        """Answers with the sum of a row; a row with a 9 gets no answer."""

        def __init__(self, quick: bool) -> None:
            self.quick = quick
            self.batches: list[int] = []

        def is_quick(self, rows: int) -> bool:
            return self.quick

        def logits(self, ids: Any) -> Any:
            self.batches.append(len(ids))
            if (ids == 9).any():
                raise PredictionError("the logit is nan", row=0)
            return ids.sum(axis=1).astype(np.float32)

    async def ask(toy: Toy, requests: list[Any]) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            batches = Batches(toy, pool, 2)  # type: ignore[arg-type]
            return await asyncio.gather(*map(batches.logits, requests), return_exceptions=True)

    requests = [np.array(rows) for rows in ([[1, 2]], [[9, 1]], [[3, 4], [5, 6]], [[7]])]
    for quick in (True, False):
        toy = Toy(quick)
        found = asyncio.run(ask(toy, requests))
        assert isinstance(found[1], PredictionError)
        assert [found[n].tolist() for n in (0, 2, 3)] == [[3.0], [7.0, 11.0], [7.0]]
        assert sorted(toy.batches) == [1, 1, 1, 2, 4]
    many = [np.ones((100, 3), np.int64)] * 6
    toy = Toy(quick=True)
    assert [len(each) for each in asyncio.run(ask(toy, many))] == [100] * 6
    assert toy.batches == [200, 200, 200]
