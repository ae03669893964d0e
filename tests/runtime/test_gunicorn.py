"""A server that loads the classifier once and forks its workers."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pe_deploy import OnnxClassifier, open_bundle

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.skipif(
        importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed"
    ),
]

APP = """
import json, os
from pe_deploy import OnnxClassifier, InvalidInputError

classifier = OnnxClassifier(os.environ["BUNDLE"], num_threads=2)
classifier.predict([[1, 2]])

def app(environ, start_response):
    ids = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    try:
        status, logits = "200 OK", classifier.predict_logits(ids).tolist()
    except InvalidInputError as error:
        status, logits = "400 Bad Request", str(error)
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"worker": os.getpid(), "answer": logits}).encode()]
"""

CLIENTS = 4
REQUESTS = 400  # of each client


def test_preloaded_in_two_workers(tmp_path: Path, notebook_bundle: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "4"),
        *("--bind", f"127.0.0.1:{port}", "--graceful-timeout", "10"),
        "app:app",
    ]
    environment = {**os.environ, "BUNDLE": str(notebook_bundle), "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=log, stdout=log, start_new_session=True
        )
        try:
            _wait_until_it_answers(port, server)
            with ThreadPoolExecutor(CLIENTS) as clients:
                seen = sum(
                    clients.map(lambda _: _ask(port, notebook_bundle), range(CLIENTS)), Counter()
                )
            server.send_signal(signal.SIGTERM)
            code = server.wait(30)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
        log.seek(0)
        text = log.read()
    assert code == 0, text
    assert sum(seen.values()) == CLIENTS * REQUESTS
    assert len(seen) == 2, "both workers answered"
    # A worker that hangs at its end is killed by gunicorn, which says so.
    for word in ("SIGKILL", "SIGABRT", "TIMEOUT", "Traceback", "ERROR", "CRITICAL"):
        assert word not in text, text


def _wait_until_it_answers(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, "gunicorn ended"
            time.sleep(0.1)
    raise TimeoutError("gunicorn does not listen")


def _ask(port: int, bundle: Path) -> Counter[int]:
    """Ask for the golden vectors again and again, now and then for what has no answer."""
    inputs = [case.input_ids[:8].tolist() for case in open_bundle(bundle).golden()]
    expected = [OnnxClassifier(bundle).predict_logits(ids).tolist() for ids in inputs]
    workers: Counter[int] = Counter()
    for number in range(REQUESTS):
        which = number % len(inputs)
        bad = number % 10 == 9
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/", json.dumps([[99]] if bad else inputs[which]))
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        if bad:
            assert (response.status, body["answer"]) == (
                400,
                "row 0: column 0 has id 99; allowed: 0 to 11",
            )
        else:
            assert (response.status, body["answer"]) == (200, expected[which])
        workers[body["worker"]] += 1
    return workers
