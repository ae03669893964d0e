"""The Open Inference Protocol's messages in JSON, with its extension for binary tensors.

In the extension a tensor's bytes follow the JSON, in the order of the tensors; a header says where
the JSON ends, and each tensor's parameter `binary_data_size` how many bytes are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pe_deploy.runtime.given import shown
from pe_deploy.serve.model import PLATFORM, Model, TensorType
from pe_deploy.serve.refusal import Refusal
from pe_deploy.serve.tensors import InferRequest, Tensor, Wanted, raw

JSON_LENGTH = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON."""

_SIZE = "binary_data_size"


def infer_request(body: bytes, json_length: str | None) -> InferRequest:
    """What a request's body asks.

    Args:
        body: all of it.
        json_length: the header's value, where it is given.

    Raises:
        Refusal: naming what is malformed.
    """
    end = _end_of_json(body, json_length)
    found = object_of(body[:end])
    binary = _BinaryPart(body, end)
    inputs = tuple(_tensor(each, binary) for each in _objects(found, "inputs"))
    binary.check_used()
    by_default = _parameters(found, "the request").get("binary_data_output", False) is True
    outputs = tuple(_wanted(each, by_default) for each in _objects(found, "outputs", optional=True))
    identity = found.get("id") or ""
    if not isinstance(identity, str):
        raise Refusal("invalid", f"id is {shown(identity)}; allowed: a string")
    return InferRequest(identity, inputs, outputs, by_default)


def infer_response(
    model: Model, request: InferRequest, made: Mapping[str, NDArray[Any]], wanted: Sequence[Wanted]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON where bytes follow."""
    types = {tensor.name: tensor for tensor in model.outputs}
    outputs, parts = [], []
    for name, binary in wanted:
        values = made[name]
        output: dict[str, Any] = {
            "name": name,
            "datatype": types[name].datatype,
            "shape": values.shape,
        }
        if binary:
            parts.append(raw(values))
            output["parameters"] = {_SIZE: len(parts[-1])}
        elif values.dtype.kind == "U":
            output["data"] = values.ravel().tolist()
        else:
            output["data"] = np.ascontiguousarray(values).ravel()
        outputs.append(output)
    answer = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.id:
        answer["id"] = request.id
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *parts]), len(text)) if parts else (text, None)


def wanted_of(request: InferRequest, model: Model) -> tuple[Wanted, ...]:
    """The outputs that are asked for; all where none is.

    Raises:
        Refusal: the model has no such output, or one is asked for twice.
    """
    names = [tensor.name for tensor in model.outputs]
    if not request.outputs:
        return tuple(Wanted(name, request.binary) for name in names)
    asked = [output.name for output in request.outputs]
    if len(set(asked)) != len(asked) or not set(asked) <= set(names):
        given = ", ".join(map(shown, asked))
        raise Refusal("invalid", f"outputs are {given}; allowed: each once of {', '.join(names)}")
    return request.outputs


def metadata(model: Model) -> dict[str, Any]:
    """A model as its metadata states it, labels too."""
    labels = {"labels": list(model.manifest.labels), "task": model.manifest.signature.task}
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [_as_json(tensor) for tensor in model.inputs],
        "outputs": [_as_json(tensor) for tensor in model.outputs],
        "parameters": labels,
    }


def object_of(body: bytes) -> dict[str, Any]:
    """The object that a body holds as JSON.

    Raises:
        Refusal: it is no JSON, or no object.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal("invalid", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal("invalid", f"the body is {shown(found)}; allowed: a JSON object")
    return found


def _as_json(tensor: TensorType) -> dict[str, Any]:
    return tensor._asdict()


def _end_of_json(body: bytes, json_length: str | None) -> int:
    if json_length is None:
        return len(body)
    digits = json_length.isascii() and json_length.isdigit()
    # Python makes no number of more than some thousand digits.
    if not digits or len(json_length) > 20 or int(json_length) > len(body):
        raise Refusal(
            "invalid",
            f"{JSON_LENGTH} is {shown(json_length)}; allowed: 0 to {len(body)}, the bytes sent",
        )
    return int(json_length)


class _BinaryPart:
    """The bytes behind the JSON, which tensors take one after the other."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, name: str, size: Any) -> bytes:
        left = len(self._body) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise Refusal(
                "invalid", f"{name} has {_SIZE} {shown(size)}; allowed: 0 to {left}, what is left"
            )
        taken = self._body[self._at : self._at + size]
        self._at += size
        return taken

    def check_used(self) -> None:
        if left := len(self._body) - self._at:
            raise Refusal("invalid", f"{left} bytes behind the JSON belong to no input")


def _objects(found: dict[str, Any], name: str, *, optional: bool = False) -> list[dict[str, Any]]:
    given = found.get(name)
    if optional and given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        what = "missing" if name not in found else shown(given)
        raise Refusal("invalid", f"{name} is {what}; allowed: a list of objects")
    return given


def _parameters(found: dict[str, Any], of: str) -> dict[str, Any]:
    parameters = found.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refusal("invalid", f"parameters of {of} are {shown(parameters)}; allowed: an object")
    return parameters


def _named(found: dict[str, Any], what: str) -> str:
    name = found.get("name")
    if not isinstance(name, str):
        raise Refusal("invalid", f"the name of an {what} is {shown(name)}; allowed: a string")
    return name


def _tensor(found: dict[str, Any], binary: _BinaryPart) -> Tensor:
    name = _named(found, "input")
    datatype, shape = found.get("datatype"), found.get("shape")
    if not isinstance(datatype, str):
        raise Refusal("invalid", f"{name} has datatype {shown(datatype)}; allowed: a string")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise Refusal("invalid", f"{name} has shape {_shown_list(shape)}; allowed: whole numbers")
    parameters = _parameters(found, name)
    values = found.get("data")
    if (values is None) == (_SIZE not in parameters):
        raise Refusal("invalid", f"{name} needs either data or the parameter {_SIZE}")
    if values is None:
        return Tensor(name, datatype, tuple(shape), binary.take(name, parameters[_SIZE]))
    if not isinstance(values, list):
        raise Refusal("invalid", f"{name} has data {shown(values)}; allowed: a list")
    return Tensor(name, datatype, tuple(shape), values)


def _wanted(found: dict[str, Any], by_default: bool) -> Wanted:
    name = _named(found, "output")
    binary = _parameters(found, name).get("binary_data", by_default)
    if not isinstance(binary, bool):
        raise Refusal("invalid", f"{name} has binary_data {shown(binary)}; allowed: true, false")
    return Wanted(name, binary)


def _shown_list(shape: Any) -> str:
    return f"[{', '.join(map(shown, shape[:8]))}]" if isinstance(shape, list) else shown(shape)
