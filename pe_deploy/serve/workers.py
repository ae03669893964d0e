"""Several processes that listen at the same ports, watched by the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from pe_deploy.bundle.bundle import Bundle, open_bundle
from pe_deploy.errors import PeDeployError, requires_extra
from pe_deploy.runtime.cpu_count import usable_cpus

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which `prometheus_client` learns, when it is imported, that processes count
together, and where."""

_LOOK = 0.2

Bundles = Sequence[tuple[str, Bundle]]


@dataclass(frozen=True)
class Plan:
    """What is to be served, and how.

    Attributes:
        bundles: a name and a folder each, no name twice.
        host: the address to listen at.
        http_port: for HTTP; 0 for one that is free.
        grpc_port: for gRPC, likewise; None for no gRPC.
        workers: processes.
        most_rows: of a request.
        public_key: a PEM file; each bundle has to be signed with its private key.
    """

    bundles: Sequence[tuple[str, Path]]
    host: str
    http_port: int
    grpc_port: int | None
    workers: int
    most_rows: int
    public_key: Path | None


@dataclass(frozen=True)
class Said:
    """What is reported of a server's start.

    Attributes:
        listens: is called with the addresses, as `host:port`, of HTTP and gRPC.
        ready: is called when every process is.
        died: is called with what became of a process that is started again.
    """

    listens: Callable[[str, str | None], None]
    ready: Callable[[], None]
    died: Callable[[str], None]


def run(plan: Plan, said: Said) -> None:
    """Serve a plan until SIGTERM or SIGINT.

    Raises:
        PeDeployError: a bundle cannot be opened, or does not pass its self-test.
        OSError: an address is taken, or is none.
        KeyboardInterrupt: by SIGINT, when what was under way is finished.
    """
    # Read once, for all processes: one that is started again serves what the others do, whatever
    # lies in the folder by then.
    bundles = [
        (name, open_bundle(folder, public_key=plan.public_key)) for name, folder in plan.bundles
    ]
    with ExitStack() as stack:
        http = stack.enter_context(_bound(plan.host, plan.http_port))
        grpc = None
        if plan.grpc_port is not None:
            # Bound only to find a free port, or that it is taken: gRPC binds it itself.
            with _bound(plan.host, plan.grpc_port) as tried:
                grpc = _address(tried)
        if plan.workers == 1:
            with requires_extra("serve"):
                from pe_deploy.serve.server import Ports, serve
            serving = _serving(plan, bundles)
            said.listens(_address(http), grpc)
            serve(serving, Ports(http, grpc, shared=False), said.ready)
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pe_deploy-metrics-"))
        _Workers(plan, bundles, http, grpc, folder, said).run()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return bound


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def _serving(plan: Plan, bundles: Bundles, others_ready: Callable[[], bool] = lambda: True) -> Any:
    with requires_extra("serve"):
        from pe_deploy.serve.model import Model, Settings
        from pe_deploy.serve.serving import Serving
    threads = max(1, usable_cpus() // plan.workers)
    settings = Settings(threads, plan.most_rows)
    models = [Model(name, bundle, settings) for name, bundle in bundles]
    return Serving(models, threads, others_ready)


class _Workers:
    """The processes; each that ends by itself is started again, once all were ready."""

    def __init__(
        self,
        plan: Plan,
        bundles: Bundles,
        http: socket.socket,
        grpc: str | None,
        folder: str,
        said: Said,
    ) -> None:
        self._plan, self._bundles, self._said = plan, bundles, said
        self._http, self._grpc = http, grpc
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Array("b", plan.workers, lock=False)
        self._processes: list[Any] = []
        self._stopped_by: int | None = None

    def run(self) -> None:
        with requires_extra("serve"):  # found missing once, and before all else
            pass
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._processes = [self._started(index) for index in range(self._plan.workers)]
        self._said.listens(_address(self._http), self._grpc)
        try:
            self._watch()
        finally:
            self._end()
        if self._stopped_by == signal.SIGINT:
            raise KeyboardInterrupt

    def _stop(self, number: int, frame: object) -> None:
        self._stopped_by = number

    def _started(self, index: int, again: bool = False) -> Any:
        self._ready[index] = 0
        listening = (self._plan, self._bundles, self._http, self._grpc)
        arguments = (*listening, index, self._ready, self._folder, again)
        process = self._context.Process(target=_work, args=arguments, name=f"worker {index}")
        process.start()
        return process

    def _watch(self) -> None:
        were_ready = False
        while self._stopped_by is None:
            wait([process.sentinel for process in self._processes], timeout=_LOOK)
            if not were_ready and all(self._ready):
                were_ready = True
                self._said.ready()
            for index, process in enumerate(self._processes):
                if process.exitcode is None or self._stopped_by is not None:
                    continue
                how = f"worker {index} ended with {process.exitcode}"
                if not were_ready or not self._ready[index]:
                    raise PeDeployError(f"{how} before it was ready")
                self._said.died(how)
                self._processes[index] = self._started(index, again=True)

    def _end(self) -> None:
        from pe_deploy.serve.server import GRACE

        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + GRACE + 5
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


def _work(
    plan: Plan,
    bundles: Bundles,
    http: socket.socket,
    grpc: str | None,
    index: int,
    ready: Any,
    folder: str,
    again: bool,
) -> None:
    """What a worker does: serve, as one of several."""
    os.environ[METRICS_FOLDER] = folder  # before what reads it is imported
    from pe_deploy.serve.server import Ports, serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first one tells them
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def done() -> None:
        ready[index] = 1

    try:
        serving = _serving(plan, bundles, lambda: all(ready))
        serve(serving, Ports(http, grpc, shared=True), done, load_first=again)
    except (PeDeployError, OSError) as error:
        sys.exit(f"pe-deploy: {' '.join(str(error).split())}")


def _end_with_parent() -> None:
    """Stop this worker when the process that started it is gone, which cannot tell it any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)
