"""What a server refuses: one line, a status that says whose fault it is, and it goes on."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.needs import need
from tests.serve.running import Answer, Server, ids_request, outputs_of, text_request

need("tritonclient")

import tritonclient.grpc as triton  # noqa: E402

GOOD = ids_request([[1, 2, 3]])


def changed(**fields: Any) -> dict[str, Any]:
    """A request that is right but for its tensor."""
    tensor = {**GOOD["inputs"][0], **fields}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not ...}]}


BAD: dict[str, tuple[Any, str]] = {
    "id too large": (ids_request([[1, 12]]), "row 0: column 1 has id 12; allowed: 0 to 11"),
    "id below 0": (ids_request([[1], [-1]]), "row 1: column 0 has id -1; allowed: 0 to 11"),
    "too long": (ids_request([[1] * 11]), "input_ids has 11 columns; allowed: 1 to 10"),
    "no rows": (changed(shape=[0, 3], data=[]), "batch is 0; allowed: 1 to 64 rows"),
    "no ids": (changed(shape=[1, 0], data=[]), "input_ids has 0 columns; allowed: 1 to 10"),
    "many rows": (changed(shape=[65, 1], data=[1] * 65), "batch is 65; allowed: 1 to 64 rows"),
    "ragged": (changed(shape=[2, 2], data=[[1, 2], [3]]), "input_ids has 2 rows of 1 to 2 values"),
    "too few": (changed(data=[1, 2]), "input_ids has 2 values; its shape is [1, 3]"),
    "vector": (changed(shape=[3]), "input_ids has shape [3]; allowed: [batch, sequence]"),
    "negative": (changed(shape=[-1, 3]), "input_ids has shape [-1, 3]"),
    "huge shape": (changed(shape=[2**62, 2**62]), "batch is 4611686018427387904; allowed"),
    "shape of text": (changed(shape=["1", 3]), "input_ids has shape ['1', 3]"),
    "shape of true": (changed(shape=[True, 3]), "input_ids has shape [True, 3]"),
    "no shape": (changed(shape=...), "input_ids has shape None; allowed: whole numbers"),
    "floats": (changed(data=[1.0, 2.5, 3.0]), "row 0: column 0 has 1.0; allowed: integers"),
    "true": (changed(data=[True, 2, 3]), "row 0: column 0 has True; allowed: integers"),
    "null": (changed(data=[1, None, 3]), "row 0: column 1 has None; allowed: integers"),
    "words": (changed(data=["1", "2", "3"]), "row 0: column 0 has '1'; allowed: integers"),
    "2**64": (changed(data=[2**64, 2, 3]), "row 0: column 0 has 1.8446744073709552e+19"),
    "float type": (changed(datatype="FP32"), "input_ids has datatype 'FP32'; allowed: INT64"),
    "no type": (changed(datatype=...), "input_ids has datatype None; allowed: a string"),
    "lower case": (changed(datatype="int64"), "input_ids has datatype 'int64'; allowed: INT64"),
    "data missing": (changed(data=...), "input_ids needs either data or the parameter"),
    "data of text": (changed(data="123"), "input_ids has data '123'; allowed: a list"),
    "other name": (changed(name="ids"), "inputs are 'ids'; allowed: one of input_ids"),
    "name of null": (changed(name=None), "the name of an input is None; allowed: a string"),
    "two inputs": ({"inputs": GOOD["inputs"] * 2}, "inputs are 'input_ids', 'input_ids'; allowed"),
    "no inputs": ({"inputs": []}, "inputs are none; allowed: one of input_ids"),
    "inputs missing": ({}, "inputs is missing; allowed: a list of objects"),
    "inputs of text": ({"inputs": "x"}, "inputs is 'x'; allowed: a list of objects"),
    "output": ({**GOOD, "outputs": [{"name": "x"}]}, "outputs are 'x'; allowed: each once of"),
    "output twice": (
        {**GOOD, "outputs": [{"name": "label"}] * 2},
        "outputs are 'label', 'label'; allowed: each once of logits, label, probability",
    ),
    "id of number": ({**GOOD, "id": 7}, "id is 7; allowed: a string"),
    "parameters": ({**GOOD, "parameters": [1]}, "parameters of the request are a list; allowed"),
    "text": (text_request(["x"]), "inputs are 'text'; allowed: one of input_ids"),
    "not JSON": (b'{"inputs": [', "the body is not JSON"),
    "empty": (b"", "the body is not JSON"),
    "UTF-16": ("{}".encode("utf-16"), "the body is not JSON"),
    "a list": (b"[1]", "the body is a list; allowed: a JSON object"),
    "deep": (b"[" * 100_000, "the body is not JSON"),
    "NaN": (b'{"inputs": NaN}', "the body is not JSON"),
}


def check_line(answer: Answer, status: int, line: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["error"]
    said = answer.json["error"]
    assert line in said
    assert len(said.splitlines()) == 1


def check_alive(server: Server) -> None:
    found = outputs_of(server.ask("/v2/models/notebook/infer", GOOD))
    assert found["logits"]["shape"] == [1]


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_400_with_one_line(server: Server, what: str) -> None:
    body, line = BAD[what]
    check_line(server.ask("/v2/models/notebook/infer", body), 400, line)
    check_alive(server)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ([None], "row 0: is None (NoneType); allowed: text"),
        (["fish", 7], "row 1: is 7 (int); allowed: text"),
        ([""], "row 0: "),
        (["x" * 41], "row 0: the text has 41 bytes; allowed: 1 to 40"),
        ([["fish", "dog"]], "row 0: is a list; allowed: text"),
        ([], "batch is 0; allowed: 1 to 64 rows"),
    ],
)
def test_a_bad_text_is_named(server: Server, texts: list[Any], line: str) -> None:
    check_line(server.ask("/v2/models/bytes/infer", text_request(texts)), 400, line)
    check_alive(server)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({}, "instances is missing; allowed: a list"),
        ({"instances": 3}, "instances is 3; allowed: a list"),
        ({"instances": []}, "batch is 0; allowed: 1 to 64 rows"),
        ({"instances": [[1]] * 65}, "batch is 65; allowed: 1 to 64 rows"),
        ({"instances": [[1, 2], [1]]}, "row 1: "),
        ({"instances": [[12]]}, "row 0: column 0 has id 12; allowed: 0 to 11"),
        ({"instances": [1, 2]}, "input_ids has 1 dimensions; allowed: 2"),
        ({"instances": [{"input_ids": [1]}, [1]]}, "row 1: is not an object with input_ids alone"),
        ({"instances": [{"text": "x"}]}, "row 0: is not an object with input_ids alone"),
        ({"instances": [{}]}, "row 0: is not an object with input_ids alone"),
    ],
)
def test_v1_refuses_in_the_same_words(server: Server, body: Any, line: str) -> None:
    check_line(server.ask("/v1/models/notebook:predict", body), 400, line)


def _binary(size: Any, data: bytes, *, length: str | None = None, **fields: Any) -> tuple[Any, Any]:
    tensor = {**GOOD["inputs"][0], "parameters": {"binary_data_size": size}, **fields}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + data, {"inference-header-content-length": length or str(len(head))}


IDS = np.array([[1, 2, 3]]).tobytes()


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (_binary(24, IDS[:-1]), "binary_data_size 24; allowed: 0 to 23"),
        (_binary(23, IDS[:-1]), "input_ids has 23 bytes; allowed: 24"),
        (_binary(24, IDS + b"more"), "4 bytes behind the JSON belong to no input"),
        (_binary(-1, IDS), "binary_data_size -1; allowed: 0 to 24"),
        (_binary("24", IDS), "binary_data_size '24'; allowed: 0 to 24"),
        (_binary(24, IDS, datatype="INT32"), "input_ids has 24 bytes; allowed: 12"),
        (_binary(24, IDS, length="99999"), "inference-header-content-length is '99999'"),
        (_binary(24, IDS, length="-1"), "inference-header-content-length is '-1'"),
        (_binary(24, IDS, length="7"), "the body is not JSON"),
    ],
)
def test_binary_parts_that_do_not_fit(server: Server, sent: tuple[Any, Any], line: str) -> None:
    body, headers = sent
    check_line(server.ask("/v2/models/notebook/infer", body, headers), 400, line)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (struct.pack("<I", 3) + b"ab", "row 0: its text goes beyond the 6 bytes of text"),
        (struct.pack("<I", 2) + b"ab\0", "row 1: its text goes beyond the 7 bytes of text"),
        (struct.pack("<I", 2) + b"a\xff", "row 0: is not UTF-8 at byte 1; allowed: text in UTF-8"),
        (struct.pack("<I", 2**32 - 1), "row 0: its text goes beyond the 4 bytes of text"),
        (struct.pack("<I", 1) + b"a" + struct.pack("<I", 1) + b"b", "text has 2 texts"),
    ],
)
def test_packed_texts_that_do_not_fit(server: Server, data: bytes, line: str) -> None:
    sent = _binary(len(data), data, name="text", datatype="BYTES", shape=[1])
    check_line(server.ask("/v2/models/bytes/infer", *sent), 400, line)


def test_no_such_model_version_path_or_method(server: Server) -> None:
    check_line(server.ask("/v2/models/nobody/infer", GOOD), 404, "model is 'nobody'; served: note")
    check_line(server.ask("/v2/models/notebook/versions/1"), 404, "version of notebook is '1'")
    check_line(server.ask("/v1/models/nobody:predict", {"instances": [[1]]}), 404, "'nobody'")
    check_line(server.ask("/v2/models/notebook/infer"), 405, "takes no GET")
    for path in ("/v2/repository/models/notebook/unload", "/v2/repository/index", "/docs", "/x"):
        check_line(server.ask(path, method="POST"), 404, f"no such path: {path}")
    for path in ("/v2/models/..%2F..%2Fetc/infer", "/v2/models/%00/infer"):
        assert server.ask(path, GOOD).status == 404


def test_a_request_of_17_mib_is_refused_unread(server: Server) -> None:
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        length = 17 * 2**20
        connection.sendall(
            f"POST /v2/models/notebook/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}"
            "\r\n\r\n".encode()
        )
        answered = b""
        while b"}" not in answered:  # before a byte of the body is sent
            part = connection.recv(65536)
            assert part, answered
            answered += part
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert b"the request has 17825792 bytes or more; allowed: 16777216" in answered
    check_alive(server)


def test_a_request_that_does_not_say_how_long_it_is(server: Server) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=30)
    part = b" " * 2**20
    connection.request("POST", "/v2/models/notebook/infer", iter([part] * 20), encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert b"allowed: 16777216" in response.read()
    connection.close()
    whole = json.dumps(GOOD).encode()
    connection.request(
        "POST", "/v2/models/notebook/infer", iter([whole[:9], whole[9:]]), encode_chunked=True
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_what_is_compressed_is_refused(server: Server) -> None:
    answer = server.ask("/v2/models/notebook/infer", GOOD, {"content-encoding": "gzip"})
    check_line(answer, 400, "content-encoding is 'gzip'; allowed: none")


@pytest.mark.parametrize("line", [b"x: " + b"y" * 1000 + b"\r\n", b"z" * 1000])
def test_headers_without_an_end(server: Server, line: bytes) -> None:
    host, port = server.http.split(":")
    answered = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\nlong: ")
        with pytest.raises(ConnectionError):  # as the server hung up
            for _ in range(20_000):  # 20 MB
                connection.sendall(line)
        with suppress(ConnectionError):
            answered = connection.recv(65536)
    assert not answered or answered.startswith(b"HTTP/1.1 400 ")
    check_alive(server)


def test_garbage_in_place_of_http(server: Server) -> None:
    host, port = server.http.split(":")
    for garbage in (b"\x16\x03\x01\x02\x00" * 99, b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 99):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)
    check_alive(server)


def _message(ids: Any = ((1, 2, 3),), **fields: Any) -> Any:
    array = np.array(ids)
    message = triton.service_pb2.ModelInferRequest(model_name=fields.pop("model", "notebook"))
    message.inputs.add(**{"name": "input_ids", "datatype": "INT64", "shape": array.shape, **fields})
    message.raw_input_contents.append(array.tobytes())
    return message


def _typed() -> Any:
    message = _message()
    del message.raw_input_contents[:]
    message.inputs[0].contents.int_contents.extend([1, 2, 3])
    return message


def _both() -> Any:
    message = _message()
    message.inputs[0].contents.int64_contents.extend([1, 2, 3])
    return message


def _twice() -> Any:
    message = _message()
    message.raw_input_contents.append(b"")
    return message


@pytest.mark.parametrize(
    ("message", "code", "line"),
    [
        (_message([[1, 99]]), "INVALID_ARGUMENT", "row 0: column 1 has id 99; allowed: 0 to 11"),
        (_message(np.ones((0, 3), int)), "INVALID_ARGUMENT", "batch is 0; allowed: 1 to 64 rows"),
        (
            _message(np.ones((1, 0), int)),
            "INVALID_ARGUMENT",
            "input_ids has 0 columns; allowed: 1 to 10",
        ),
        (_message(shape=[1, 4]), "INVALID_ARGUMENT", "input_ids has 24 bytes; allowed: 32"),
        (_message(datatype="FP32"), "INVALID_ARGUMENT", "input_ids has datatype 'FP32'"),
        (_message(name="x"), "INVALID_ARGUMENT", "inputs are 'x'; allowed: one of input_ids"),
        (_message(model="nobody"), "NOT_FOUND", "model is 'nobody'; served: notebook"),
        (_typed(), "INVALID_ARGUMENT", "has 3 values in int_contents; of datatype 'INT64'"),
        (_both(), "INVALID_ARGUMENT", "input_ids has contents and raw_input_contents"),
        (_twice(), "INVALID_ARGUMENT", "raw_input_contents are 2; inputs: 1"),
    ],
)
def test_grpc_refuses_with_a_status(server: Server, message: Any, code: str, line: str) -> None:
    import grpc

    with triton.InferenceServerClient(server.grpc) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client._client_stub.ModelInfer(message)
        error: Any = caught.value
        assert error.code().name == code
        assert line in error.details()
        right = client._client_stub.ModelInfer(_message())
        assert [output.name for output in right.outputs] == ["logits", "label", "probability"]


def test_grpc_takes_no_garbage_no_giants_and_loads_nothing(server: Server) -> None:
    import grpc

    service = "/inference.GRPCInferenceService"
    limits = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=limits) as channel:

        def code_of(method: str, data: bytes) -> str:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"{service}/{method}")(data, timeout=30)
            error: Any = caught.value
            return str(error.code().name)

        assert code_of("ModelInfer", b"\xff\xff\xff") == "INVALID_ARGUMENT"
        assert code_of("ModelInfer", bytes(17 * 2**20)) == "RESOURCE_EXHAUSTED"
        assert code_of("RepositoryModelLoad", b"") == "UNIMPLEMENTED"
        assert code_of("RepositoryModelUnload", b"") == "UNIMPLEMENTED"
    check_alive(server)


def test_a_client_that_leaves_in_the_middle_harms_nobody(server: Server, tmp_path: Path) -> None:
    host, port = server.http.split(":")
    body = json.dumps(GOOD).encode()
    head = (
        f"POST /v2/models/notebook/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    for sent in (head[:20], head, head + body[:10], head + body):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(sent)
    check_alive(server)


def test_a_length_of_more_digits_than_python_reads(server: Server) -> None:
    headers = {"Inference-Header-Content-Length": "9" * 5000}
    answer = server.ask("/v2/models/notebook/infer", ids_request([[1, 2, 3]]), headers)
    assert answer.status == 400
    assert "inference-header-content-length is '999" in answer.json["error"]
