"""The messages of the Open Inference Protocol's gRPC service, `inference.GRPCInferenceService`.

They are made from the table below, in a pool of their own: generated code would fit one major
version of protobuf, and what is in the common pool under the same names (of a client of KServe or
Triton in the same process) would clash with it.

Source: `open_inference_grpc.proto` of the protocol. Left out are the requests to load and to unload
models, which this server does not take.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_Field = descriptor_pb2.FieldDescriptorProto

_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}

_PARAMETERS = "repeated ParametersEntry parameters"

# On the wire a map is a repeated message of a key and a value; where a message is declared, inside
# another or beside it, does not show there.
_MESSAGES: dict[str, list[str]] = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": ["bool live = 1"],
    "ServerReadyRequest": [],
    "ServerReadyResponse": ["bool ready = 1"],
    "ModelReadyRequest": ["string name = 1", "string version = 2"],
    "ModelReadyResponse": ["bool ready = 1"],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": [
        "string name = 1",
        "string version = 2",
        "repeated string extensions = 3",
    ],
    "ModelMetadataRequest": ["string name = 1", "string version = 2"],
    "TensorMetadata": ["string name = 1", "string datatype = 2", "repeated int64 shape = 3"],
    "ModelMetadataResponse": [
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated TensorMetadata inputs = 4",
        "repeated TensorMetadata outputs = 5",
    ],
    "InferParameter": ["bool bool_param = 1", "int64 int64_param = 2", "string string_param = 3"],
    "ParametersEntry": ["string key = 1", "InferParameter value = 2"],
    "InferTensorContents": [
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6",
        "repeated double fp64_contents = 7",
        "repeated bytes bytes_contents = 8",
    ],
    "InferInputTensor": [
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
        f"{_PARAMETERS} = 4",
        "InferTensorContents contents = 5",
    ],
    "InferRequestedOutputTensor": ["string name = 1", f"{_PARAMETERS} = 2"],
    "ModelInferRequest": [
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        f"{_PARAMETERS} = 4",
        "repeated InferInputTensor inputs = 5",
        "repeated InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ],
    "InferOutputTensor": [
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
        f"{_PARAMETERS} = 4",
        "InferTensorContents contents = 5",
    ],
    "ModelInferResponse": [
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        f"{_PARAMETERS} = 4",
        "repeated InferOutputTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ],
}


def _field(line: str) -> Any:
    *label, kind, name, _, number = line.split()
    field = _Field(
        name=name,
        number=int(number),
        label=_Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL,
    )
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    return field


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    for name, lines in _MESSAGES.items():
        message = file.message_type.add(name=name)
        message.field.extend(map(_field, lines))
        if name == "InferParameter":
            message.oneof_decl.add(name="parameter_choice")
            for field in message.field:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


CLASSES: dict[str, Any] = _classes()
"""From each name to the class of its messages."""
