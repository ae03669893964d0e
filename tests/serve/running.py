"""A server in a process of its own, as people start it, and plain requests to it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.needs import need
from tests.program import PROGRAM

need("uvicorn", "starlette", "orjson", "prometheus_client", "grpc", "typer")

PATIENCE = 60


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running `pe-deploy serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    def line(self, pattern: str) -> re.Match[str]:
        """The first line that matches, when it is said."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.match(pattern, line) for line in self.lines)), None)

        with self._said:
            deadline = time.monotonic() + PATIENCE
            while (match := found()) is None:
                assert self.process.poll() is None, self.lines
                assert self._said.wait(max(0.0, deadline - time.monotonic())), self.lines
            return match

    @property
    def http(self) -> str:
        return self.line(r"Listening: http://([^,]+)")[1]

    @property
    def grpc(self) -> str:
        return self.line(r"Listening: .*, grpc (.+)")[1]

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = ""
    ) -> Answer:
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            wanted = method or ("GET" if body is None else "POST")
            connection.request(wanted, path, data, headers or {})
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, given, response.read())
        finally:
            connection.close()

    def ends(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code


def command(bundles: Sequence[Path], *options: str) -> list[str]:
    ports = ["--http-port", "0", "--grpc-port", "0"]
    return [*PROGRAM, "serve", *map(str, bundles), *ports, *options]


@contextmanager
def running(bundles: Sequence[Path], *options: str) -> Iterator[Server]:
    """A server that is ready, and gone after the block."""
    with subprocess.Popen(
        command(bundles, *options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        server = Server(process)
        try:
            server.line("Ready")
            yield server
        finally:
            if process.poll() is None:
                process.kill()


def ids_request(ids: Any, datatype: str = "INT64", **more: Any) -> dict[str, Any]:
    """An inference request in JSON for some rows of ids."""
    rows = [list(map(int, row)) for row in ids]
    tensor = {
        "name": "input_ids",
        "datatype": datatype,
        "shape": [len(rows), len(rows[0])],
        "data": [value for row in rows for value in row],
    }
    return {"inputs": [tensor], **more}


def text_request(texts: Sequence[Any], **more: Any) -> dict[str, Any]:
    """An inference request in JSON for some texts."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"inputs": [tensor], **more}


def outputs_of(answer: Answer) -> dict[str, Any]:
    """From each output's name to its tensor."""
    assert answer.status == 200, answer.body
    return {tensor["name"]: tensor for tensor in answer.json["outputs"]}
