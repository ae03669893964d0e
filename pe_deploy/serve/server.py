"""One process that serves: HTTP by uvicorn, gRPC beside it in the same event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pe_deploy.serve.rest import application
from pe_deploy.serve.rpc import grpc_server
from pe_deploy.serve.serving import Serving

GRACE = 30.0
"""Seconds that requests under way have to come to their end, once the server stops."""

_MOST_HEAD = 64 * 2**10
"""Bytes of a request before its body."""

_IDLE = 1.0
"""Seconds that connections stay open then, so that what comes in meanwhile gets an answer."""


@dataclass(frozen=True)
class Ports:
    """Where a process listens.

    Attributes:
        http: a bound socket.
        grpc: `host:port`; None for no gRPC.
        shared: whether other processes listen there, too.
    """

    http: socket
    grpc: str | None
    shared: bool


def serve(
    serving: Serving,
    ports: Ports,
    when_ready: Callable[[], None] = lambda: None,
    *,
    load_first: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is under way, and return.

    It is live at once, and ready when the golden vectors of every model were replayed.

    Args:
        serving: the models, which are loaded here.
        ports: where to listen.
        when_ready: is called then.
        load_first: load before listening, where other processes listen already.

    Raises:
        BundleError: a model does not load.
        ParityError: a model answers otherwise than was published.
        MissingDependencyError: a tokenizer needs `tokenizers`, which is not installed.
        OSError: it cannot listen where it should.
        KeyboardInterrupt: by SIGINT, afterwards.
    """
    if load_first:
        serving.load()
    config = uvicorn.Config(
        application(serving),
        http=_Protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=65,  # longer than proxies keep idle connections
        timeout_graceful_shutdown=int(GRACE),
    )
    server = _Server(config, serving, ports, when_ready)
    # uvicorn raises each signal anew when all is done; SIGTERM has then done what it should.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: None)
    server.run([ports.http])
    if server.failure is not None:
        raise server.failure


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose headers have an end: uvicorn's own takes as many as are sent, into memory."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.parser: Any = _Parser(self, self.parser)
        self._head = 0

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > _MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The headers have more than {_MOST_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        self._head = -(2**63)  # what follows is the body, which is counted where it is read
        if not self.parser.is_left():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        if not self.parser.is_left():
            super().on_message_complete()


class _Parser:
    """A parser that takes requests to change the protocol as if they did not ask for it.

    Java's client asks for HTTP/2 so by default. httptools stops behind the headers of such a
    request, and what follows, its body first, would be lost.
    """

    def __init__(self, protocol: _Protocol, parser: Any) -> None:
        self._protocol = protocol
        self._parser = parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def is_left(self) -> bool:
        """Whether it stops behind these headers, and the request is read anew without them."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """As httptools' own."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self.is_left():
                    raise
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self._protocol)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._protocol.url, version)]
        headers = self._protocol.headers
        lines += [b"%b: %b" % (name, value) for name, value in headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


class _Server(uvicorn.Server):
    """uvicorn with gRPC beside it, a load in the background, and an end without lost requests."""

    def __init__(
        self,
        config: uvicorn.Config,
        serving: Serving,
        ports: Ports,
        when_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.failure: BaseException | None = None
        self._serving = serving
        self._ports = ports
        self._when_ready = when_ready
        self._grpc: Any = None
        self._loading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            if self._ports.grpc is not None:
                self._grpc = grpc_server(self._serving, self._ports.grpc, self._ports.shared)
                await self._grpc.start()
        except OSError as error:
            self._fail(error)
            return
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        try:
            await asyncio.to_thread(self._serving.load)
        except Exception as error:  # noqa: BLE001 (it is raised when the server has come to its end)
            self._fail(error)
        else:
            self._when_ready()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Refuse what is new, answer what was asked before, and hang up.

        A request that reaches an open connection now is told that the server stops. If connections
        were closed at once, it could be on its way to one, and get no answer at all.
        """
        self._serving.stopping = True
        for server in self.servers:
            server.close()
        for bound in sockets or []:
            bound.close()
        await asyncio.gather(self._hang_up(), self._stop_grpc())
        await super().shutdown(None)
        if self._loading is not None:
            await asyncio.wait([self._loading])

    async def _hang_up(self) -> None:
        deadline = asyncio.get_running_loop().time() + _IDLE
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)

    async def _stop_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(GRACE)
