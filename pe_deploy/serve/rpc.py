"""gRPC: the Open Inference Protocol's service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

import pe_deploy
from pe_deploy.runtime.given import shown
from pe_deploy.serve import metrics
from pe_deploy.serve.json_wire import wanted_of
from pe_deploy.serve.messages import CLASSES, SERVICE
from pe_deploy.serve.model import PLATFORM, Model, TensorType
from pe_deploy.serve.refusal import GRPC_STATUS, Refusal, refusing
from pe_deploy.serve.serving import SERVER, Serving
from pe_deploy.serve.tensors import MOST_BYTES, InferRequest, Tensor, Wanted, raw, rows_of

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a tensor's values are that are not sent as bytes."""

_ANSWER_BYTES = 2**31 - 1
"""Of an answer: the largest that gRPC takes. What may be asked bounds it already."""


def grpc_server(serving: Serving, address: str, shared: bool) -> Any:
    """A server that listens at an address once it is started.

    Args:
        serving: what it answers with.
        address: as `host:port`.
        shared: whether other processes may listen there, too.

    Raises:
        OSError: the address is taken, or is none.
    """
    options = [
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", _ANSWER_BYTES),
        ("grpc.so_reuseport", int(shared)),
    ]
    server = grpc.aio.server(options=options)
    service = _Service(serving)
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _answering(name, method),
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, method in service.methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"{address}: gRPC cannot listen there") from error
    return server


def _answering(
    name: str, method: Callable[[Any], Awaitable[Any]]
) -> Callable[[bytes, Any], Awaitable[Any]]:
    """A method that takes a message's bytes, and ends with a status where it gives no answer."""
    message_class = CLASSES[f"{name}Request"]

    async def answer(data: bytes, context: Any) -> Any:
        try:
            with refusing():
                return await method(_parsed(message_class, data))
        except Refusal as refusal:
            await context.abort(grpc.StatusCode[GRPC_STATUS[refusal.kind]], refusal.line)

    return answer


def _parsed(message_class: Any, data: bytes) -> Any:
    message = message_class()
    try:
        message.ParseFromString(data)
    except Exception as error:  # of a class that differs between protobuf's implementations
        raise Refusal("invalid", f"the request is not a message of {SERVICE}") from error
    return message


class _Service:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.methods: Mapping[str, Callable[[Any], Awaitable[Any]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }

    async def server_live(self, asked: Any) -> Any:
        return CLASSES["ServerLiveResponse"](live=True)

    async def server_ready(self, asked: Any) -> Any:
        return CLASSES["ServerReadyResponse"](ready=self._serving.ready)

    async def server_metadata(self, asked: Any) -> Any:
        return CLASSES["ServerMetadataResponse"](name=SERVER, version=pe_deploy.__version__)

    async def model_ready(self, asked: Any) -> Any:
        model = self._serving.model(asked.name, asked.version)
        return CLASSES["ModelReadyResponse"](ready=self._serving.is_ready(model))

    async def model_metadata(self, asked: Any) -> Any:
        model = self._serving.model(asked.name, asked.version)

        def types(tensors: list[TensorType]) -> list[Any]:
            return [CLASSES["TensorMetadata"](**tensor._asdict()) for tensor in tensors]

        return CLASSES["ModelMetadataResponse"](
            name=model.name,
            versions=[model.version],
            platform=PLATFORM,
            inputs=types(model.inputs),
            outputs=types(model.outputs),
        )

    async def model_infer(self, asked: Any) -> Any:
        serving = self._serving
        known = serving.known(asked.model_name)
        with metrics.counted(known, "grpc") as call, refusing():
            serving.check_open()
            model = serving.model(asked.model_name, asked.model_version)
            request = _infer_request(asked)
            wanted = wanted_of(request, model)
            rows = rows_of(request, model.takes_text, model.settings.most_rows)
            call.rows = len(rows)
            ids, logits = await serving.answer(model, rows)
            made = model.tensors(ids, logits, [output.name for output in wanted])
            return _response(model, request, made, wanted)


def _infer_request(asked: Any) -> InferRequest:
    raw_contents = list(asked.raw_input_contents)
    if raw_contents and len(raw_contents) != len(asked.inputs):
        raise Refusal(
            "invalid", f"raw_input_contents are {len(raw_contents)}; inputs: {len(asked.inputs)}"
        )
    inputs = []
    for index, tensor in enumerate(asked.inputs):
        values = raw_contents[index] if raw_contents else _values(tensor)
        if raw_contents and tensor.HasField("contents"):
            raise Refusal("invalid", f"{tensor.name} has contents and raw_input_contents")
        inputs.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), values))
    outputs = tuple(Wanted(output.name, bool(raw_contents)) for output in asked.outputs)
    return InferRequest(asked.id, tuple(inputs), outputs, bool(raw_contents))


def _values(tensor: Any) -> list[Any]:
    """The values in the field of the datatype; those in another field are not looked over."""
    own = _FIELDS.get(tensor.datatype)
    for field, values in tensor.contents.ListFields():
        if field.name != own:
            raise Refusal(
                "invalid",
                f"{shown(tensor.name)} has {len(values)} values in {field.name}; of datatype "
                f"{shown(tensor.datatype)} they belong into {own or 'no field'}",
            )
    return [] if own is None else list(getattr(tensor.contents, own))


def _response(
    model: Model, request: InferRequest, made: Mapping[str, NDArray[Any]], wanted: Sequence[Wanted]
) -> Any:
    response = CLASSES["ModelInferResponse"](
        model_name=model.name, model_version=model.version, id=request.id
    )
    types = {tensor.name: tensor for tensor in model.outputs}
    for name, binary in wanted:
        values = made[name]
        tensor = response.outputs.add(name=name, datatype=types[name].datatype, shape=values.shape)
        if binary:
            response.raw_output_contents.append(raw(values))
        else:
            flat = np.ravel(values).tolist()
            members = [text.encode() for text in flat] if values.dtype.kind == "U" else flat
            getattr(tensor.contents, _FIELDS[tensor.datatype]).extend(members)
    return response
