"""Requests that ask for another protocol on the way, as Java's HTTP client does by default."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.needs import need

need("uvicorn")

from tests.serve.running import PATIENCE, ids_request, outputs_of  # noqa: E402

if TYPE_CHECKING:
    from tests.serve.running import Server

INFER = "/v2/models/notebook/infer"
GOOD = ids_request([[1, 2, 3]])
ASKS = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ"}


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "other"])
def test_a_request_to_upgrade_is_answered_as_any_other(server: Server, protocol: str) -> None:
    plain = server.ask(INFER, GOOD)
    answer = server.ask(INFER, GOOD, {**ASKS, "Upgrade": protocol})
    assert outputs_of(answer) == outputs_of(plain)
    assert server.ask("/v2/health/ready", headers={**ASKS, "Upgrade": protocol}).status == 200


@pytest.mark.parametrize("packet", [1, 7, 10**6])
def test_what_follows_on_the_connection_is_read_too(server: Server, packet: int) -> None:
    host, _, port = server.http.rpartition(":")
    body = json.dumps(GOOD)
    asks = "".join(f"{name}: {value}\r\n" for name, value in ASKS.items())
    chunked = f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    sized = f"Content-Length: {len(body)}\r\n\r\n{body}"
    posts = [f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{asks}{each}" for each in (sized, chunked)]
    last = "GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    data = "".join([*posts, last]).encode()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        for start in range(0, len(data), packet):
            connection.sendall(data[start : start + packet])
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"logits"') == 2
