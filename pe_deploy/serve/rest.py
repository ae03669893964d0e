"""HTTP: the Open Inference Protocol v2, KServe's v1 `:predict`, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import pe_deploy
from pe_deploy.config import INPUT_IDS
from pe_deploy.runtime.given import shown
from pe_deploy.serve import metrics
from pe_deploy.serve.json_wire import (
    JSON_LENGTH,
    infer_request,
    infer_response,
    metadata,
    object_of,
    wanted_of,
)
from pe_deploy.serve.model import Model
from pe_deploy.serve.refusal import HTTP_STATUS, Refusal, refusing
from pe_deploy.serve.serving import SERVER, Serving
from pe_deploy.serve.tensors import MOST_BYTES, TEXT, check_rows, rows_of

_LINGER_BYTES = 4 * MOST_BYTES
_LINGER_SECONDS = 2.0

Answer = Callable[[Request], Awaitable[Response]]


def application(serving: Serving) -> Starlette:
    """The application; it holds nothing but `serving`."""
    http = _Http(serving)
    model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    routes = [
        *(Route(f"{at}/infer", http.infer, methods=["POST"]) for at in (model, version)),
        Route("/v1/models/{name}:predict", http.predict, methods=["POST"]),
        Route("/", http.alive),
        Route("/v2/health/live", http.live),
        Route("/v2/health/ready", http.ready),
        Route("/v2", http.server),
        *(Route(f"{at}/ready", http.model_ready) for at in (model, version)),
        *(Route(at, http.model) for at in (model, version)),
        Route("/v1/models", http.models),
        Route("/v1/models/{name}", http.model_ready),
        Route("/metrics", http.metrics),
    ]
    return Starlette(routes=routes, exception_handlers={404: _no_such_path, 405: _no_such_method})


class _Http:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def infer(self, request: Request) -> Response:
        return await self._answered(request, "v2", self._inferred)

    async def predict(self, request: Request) -> Response:
        return await self._answered(request, "v1", self._predicted)

    async def _answered(
        self,
        request: Request,
        protocol: str,
        answer: Callable[[Request, Model, metrics.Call], Awaitable[Response]],
    ) -> Response:
        known = self._serving.known(request.path_params["name"])
        try:
            with metrics.counted(known, protocol) as call, refusing():
                self._serving.check_open()
                model = self._model(request)
                return await answer(request, model, call)
        except Refusal as refusal:
            return _refused(refusal)

    async def _inferred(self, request: Request, model: Model, call: metrics.Call) -> Response:
        body = await _body(request)
        asked = infer_request(body, request.headers.get(JSON_LENGTH))
        wanted = wanted_of(asked, model)
        rows = rows_of(asked, model.takes_text, model.settings.most_rows)
        call.rows = len(rows)
        ids, logits = await self._serving.answer(model, rows)
        made = model.tensors(ids, logits, [output.name for output in wanted])
        content, json_length = infer_response(model, asked, made, wanted)
        if json_length is None:
            return _json(content)
        headers = {JSON_LENGTH: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def _predicted(self, request: Request, model: Model, call: metrics.Call) -> Response:
        rows = _instances(object_of(await _body(request)), model)
        call.rows = len(rows)
        made = model.predictions(*await self._serving.answer(model, rows))
        return _json(orjson.dumps({"predictions": made}))

    async def alive(self, request: Request) -> Response:
        return _json(orjson.dumps({"status": "alive"}))

    async def live(self, request: Request) -> Response:
        return _json(orjson.dumps({"live": True}))

    async def ready(self, request: Request) -> Response:
        ready = self._serving.ready
        return _json(orjson.dumps({"ready": ready}), 200 if ready else HTTP_STATUS["not_ready"])

    async def server(self, request: Request) -> Response:
        about = {
            "name": SERVER,
            "version": pe_deploy.__version__,
            "extensions": ["binary_tensor_data"],
        }
        return _json(orjson.dumps(about))

    async def models(self, request: Request) -> Response:
        return _json(orjson.dumps({"models": list(self._serving.models)}))

    async def model(self, request: Request) -> Response:
        try:
            return _json(orjson.dumps(metadata(self._model(request))))
        except Refusal as refusal:
            return _refused(refusal)

    async def model_ready(self, request: Request) -> Response:
        try:
            model = self._model(request)
        except Refusal as refusal:
            return _refused(refusal)
        ready = self._serving.is_ready(model)
        content = orjson.dumps({"name": model.name, "ready": ready})
        return _json(content, 200 if ready else HTTP_STATUS["not_ready"])

    async def metrics(self, request: Request) -> Response:
        content = await asyncio.to_thread(metrics.exposition)
        return Response(content, headers={"content-type": metrics.CONTENT_TYPE})

    def _model(self, request: Request) -> Model:
        found = request.path_params
        return self._serving.model(found["name"], found.get("version", ""))


def _instances(found: dict[str, Any], model: Model) -> list[Any]:
    """The rows of a v1 request: each a list of ids or a text, alone or by its name."""
    instances = found.get("instances")
    if not isinstance(instances, list):
        what = "missing" if "instances" not in found else shown(instances)
        raise Refusal("invalid", f"instances is {what}; allowed: a list")
    check_rows(len(instances), model.settings.most_rows)
    if not isinstance(instances[0], dict):
        return instances
    names = (INPUT_IDS, TEXT) if model.takes_text else (INPUT_IDS,)
    name = next(iter(instances[0]), "")
    for row, instance in enumerate(instances):
        if name not in names or not isinstance(instance, dict) or list(instance) != [name]:
            line = f"row {row}: is not an object with {' or '.join(names)} alone, as the first row"
            raise Refusal("invalid", line)
    return [instance[name] for instance in instances]


async def _body(request: Request) -> bytes:
    """The body, of which no more is kept than is allowed."""
    if coding := request.headers.get("content-encoding"):
        raise Refusal("invalid", f"content-encoding is {shown(coding)}; allowed: none")
    stated = request.headers.get("content-length", "0")
    size = int(stated) if stated.isdigit() else 0
    parts: list[bytes] = []
    if size <= MOST_BYTES:
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    break
                parts.append(part)
            else:
                return b"".join(parts)
        except ClientDisconnect as error:
            raise Refusal("left", "the client left before its request was whole") from error
    raise Refusal("too_large", f"the request has {size} bytes or more; allowed: {MOST_BYTES}")


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _refused(refusal: Refusal) -> Response:
    content = orjson.dumps({"error": refusal.line})
    status = HTTP_STATUS[refusal.kind]
    if refusal.kind == "too_large":
        return _Lingering(content, status, {"connection": "close"}, "application/json")
    headers = {"connection": "close"} if refusal.kind == "stopping" else None
    return Response(content, status, headers, "application/json")


async def _no_such_path(request: Request, error: Exception) -> Response:
    metrics.count_refused("not_found")
    return _refused(Refusal("not_found", f"no such path: {request.url.path}"))


async def _no_such_method(request: Request, error: Exception) -> Response:
    metrics.count_refused("method")
    return _refused(Refusal("method", f"{request.url.path} takes no {request.method}"))


class _Lingering(Response):
    """Answers before the request has come to its end, and hangs up only a while later.

    A client that still writes would else find the connection reset, and not read the answer. What
    it writes is thrown away, up to a limit (nginx' `lingering_close` does the same).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(asyncio.TimeoutError):  # Python 3.10 has a class of its own for it
            await asyncio.wait_for(_discard(receive), _LINGER_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    left = _LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))
