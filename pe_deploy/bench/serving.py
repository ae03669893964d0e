"""How fast `pe-deploy serve` answers, beside the same model in KServe's own server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pe_deploy.bench.result import Spread, about
from pe_deploy.bench.rounds import Progress, check_seconds, in_turns
from pe_deploy.bench.tables import serving_table
from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import MissingDependencyError, PredictionError
from pe_deploy.view import html

OURS, KSERVE = "pe_deploy", "kserve"

_REQUESTS = 256
"""Of a turn, shared out among its clients."""

_PATIENCE = 60.0

# What the documentation of KServe shows for a model of one's own: no checks, one thread for each
# processor, gRPC left out.
_BARE = f"""
import sys
model, port = sys.argv[1:]
sys.argv = sys.argv[:1]
import kserve
import onnxruntime

class Bare(kserve.Model):
    def load(self):
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, request, headers=None, response_headers=None):
        ids = request.inputs[0].as_numpy()
        logits = self.session.run(["{LOGITS}"], {{"{INPUT_IDS}": ids}})[0]
        output = kserve.InferOutput("{LOGITS}", list(logits.shape), "FP32")
        output.set_data_from_numpy(logits, binary_data=False)
        return kserve.InferResponse(request.id or "", self.name, [output])

bare = Bare("model")
bare.load()
server = kserve.ModelServer(http_port=int(port), enable_grpc=False, enable_latency_logging=False)
server.start([bare])
"""


@dataclass(frozen=True)
class Served:
    """One server with some clients.

    Attributes:
        server: its name.
        clients: that ask at the same time, each one request after the other.
        requests_per_second: the median of the rounds.
        median_ms: the time of a request in ms.
        p99_ms: 99 of 100 requests took no longer.
        ratio: how many times as many requests as KServe's server, in the same round; None where it
            was not measured.
    """

    server: str
    clients: int
    requests_per_second: float
    median_ms: float
    p99_ms: float
    ratio: Spread | None


@dataclass(frozen=True)
class Serving:
    """A benchmark of servers: JSON over HTTP, one row a request, one process each.

    Attributes:
        bundle: the bundle's path.
        length: ids a row.
        rounds: how often each server was measured, in turns.
        servers: each server at each number of clients.
        left_out: what was not measured, and why.
        about: the machine and the versions.
    """

    bundle: str
    length: int
    rounds: int
    servers: tuple[Served, ...]
    left_out: dict[str, str]
    about: dict[str, str | int]

    def __repr__(self) -> str:
        return f"<Serving {self.bundle}: {len(self.servers)} measurements in {self.rounds} rounds>"

    def _repr_html_(self) -> str:
        return html.page(f"Servers of {self.bundle}", html.table(*serving_table(self)))


def serving(
    bundle: str | Path,
    *,
    clients: Sequence[int] = (1, 64),
    seconds: float,
    progress: Progress | None = None,
) -> Serving:
    """Measure servers of a bundle on this machine, which their clients share.

    Args:
        bundle: the bundle's folder.
        clients: numbers of clients to measure with.
        seconds: about how long to measure; each server has three turns at least.
        progress: called with the share that is done, 0 to 1.

    Raises:
        InvalidInputError: `seconds` is not above 0.
        BundleError: the bundle cannot be opened.
        PredictionError: a server does not start, or answers with an error.
        MissingDependencyError: the extra `serve` is not installed.
    """
    check_seconds(seconds)
    opened = open_bundle(bundle)
    row = max(opened.golden(), key=lambda case: case.input_ids.shape[1]).input_ids[0].tolist()
    if find_spec("uvicorn") is None:
        raise MissingDependencyError(
            "uvicorn is not installed; run: pip install 'pe-deploy[serve]'"
        )
    left_out = {} if find_spec("kserve") else {KSERVE: "not installed; run: pip install kserve"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pe_deploy-")))
        (folder / ONNX).write_bytes(opened.read(ONNX))
        ports = {OURS: stack.enter_context(_ours(opened.path))}
        if not left_out:
            ports[KSERVE] = stack.enter_context(_kserve(folder / ONNX))
        tasks = {
            f"{server} {count}": partial(_turn, port, row, count)
            for server, port in ports.items()
            for count in clients
        }
        for task in tasks.values():
            task()
        turns = in_turns(tasks, seconds, progress)
    servers = []
    for count in clients:
        for server in ports:
            taken = turns[f"{server} {count}"]
            rates = [len(turn.each) / turn.seconds for turn in taken]
            each = np.concatenate([turn.each for turn in taken]) * 1e3
            others = turns.get(f"{KSERVE} {count}")
            ratio = others and Spread.of(
                [
                    rate * turn.seconds / len(turn.each)
                    for rate, turn in zip(rates, others, strict=True)
                ]
            )
            middle, late = np.percentile(each, [50, 99]).tolist()
            median = float(np.median(rates))
            servers.append(Served(server, count, median, middle, late, ratio or None))
    rounds = len(next(iter(turns.values())))
    return Serving(str(bundle), len(row), rounds, tuple(servers), left_out, about())


@contextmanager
def _ours(bundle: Path) -> Iterator[int]:
    command = ["-m", "pe_deploy", "serve", str(bundle), "--name", "model", "--no-grpc"]
    with _process([*command, "--http-port", "0"], stderr=subprocess.PIPE) as process:
        for line in process.stderr or ():
            if found := re.match(r"Listening: http://127\.0\.0\.1:(\d+)", line):
                yield _answering(int(found[1]), process)
                return
        raise PredictionError("pe-deploy serve does not start")


@contextmanager
def _kserve(model: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _process(["-c", _BARE, str(model), str(port)], stderr=subprocess.DEVNULL) as process:
        yield _answering(port, process)


@contextmanager
def _process(arguments: list[str], stderr: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=stderr, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _answering(port: int, process: subprocess.Popen[str]) -> int:
    """The port, once a server answers there that it is ready."""
    started = time.monotonic()
    while time.monotonic() - started < _PATIENCE and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /v2/health/ready HTTP/1.0\r\n\r\n")
                if b" 200 " in connection.recv(64):
                    return port
        except OSError:
            pass
        time.sleep(0.05)
    raise PredictionError("a server does not start; nothing was measured")


@dataclass(frozen=True)
class _Turn:
    seconds: float
    each: np.ndarray[tuple[int], np.dtype[np.float64]]


def _turn(port: int, row: list[int], clients: int) -> _Turn:
    tensor = {"name": INPUT_IDS, "datatype": "INT64", "shape": [1, len(row)], "data": row}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": LOGITS}]}).encode()
    head = "POST /v2/models/model/infer HTTP/1.1\r\nhost: bench\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    async def all_of_them() -> _Turn:
        each: list[float] = []
        started = time.perf_counter()
        share = max(1, _REQUESTS // clients)
        await asyncio.gather(*(_client(port, request, share, each) for _ in range(clients)))
        return _Turn(time.perf_counter() - started, np.array(each))

    return asyncio.run(all_of_them())


async def _client(port: int, request: bytes, count: int, each: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(count):
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            answer = await reader.readexactly(int(length[1]) if length else 0)
            each.append(time.perf_counter() - started)
            if b" 200 " not in head[:16]:
                raise PredictionError(f"a server answers with an error: {answer[:300]!r}")
    finally:
        writer.close()
