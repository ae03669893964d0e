"""What a server answers to requests that are right, by each protocol."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import OnnxClassifier, open_bundle
from pe_deploy.data.text_reader import cells_of
from pe_deploy.runtime.answer_columns import answer_columns
from tests.needs import need
from tests.serve.conftest import BUNDLES, NAMES
from tests.serve.running import Server, ids_request, outputs_of, running, text_request

need("serve", modules=("tritonclient",))

import tritonclient.grpc as triton_grpc  # noqa: E402
import tritonclient.http as triton_http  # noqa: E402

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
TEXTS = ["The cat eats fish", "a naïve dog", "Zoë paints the café 🎨"]


def rows(name: str, batch: int = 3) -> NDArray[np.int64]:
    """Some rows of random ids, the last of them padded where the model has padding."""
    signature = open_bundle(BUNDLES / name).manifest.signature
    length = min(signature.max_length, 9)
    ids = np.random.default_rng(5).integers(1, signature.vocab_size, (batch, length))
    if signature.pad_id is not None:
        ids[ids == signature.pad_id] = signature.vocab_size - 2
        ids[-1, length // 2 :] = signature.pad_id
    return ids


def expected(name: str, given: Any) -> dict[str, Any]:
    """What each output is, from the classifier in this process."""
    with OnnxClassifier(BUNDLES / name) as classifier:
        logits = classifier.predict_logits(given)
        found: dict[str, Any] = {"logits": logits}
        task, decision = classifier.signature.task, classifier.decision
        if task == "classes":
            found["label"], found["probability"] = classifier.predict_with_probability(given)
        elif task == "multilabel":
            found["label"] = decision.classes(logits)
            found["probability"] = decision.probabilities(logits)
        elif task == "tokens":
            labels, probabilities = classifier.predict_with_probability(given)
            width = logits.shape[1]
            found["label"] = [[*row, *[""] * (width - len(row))] for row in labels]
            found["probability"] = [[*row, *[0.0] * (width - len(row))] for row in probabilities]
        return found


def check(found: dict[str, NDArray[Any]], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        exact = np.asarray(values)  # JSON's decimals are those of a float32, where it is one
        assert found[name].astype(exact.dtype).tolist() == exact.tolist(), name


@pytest.mark.parametrize("name", NAMES)
def test_json_answers_as_the_classifier(server: Server, name: str) -> None:
    ids = rows(name)
    answer = server.ask(f"/v2/models/{name}/infer", ids_request(ids, id="seven"))
    found = outputs_of(answer)
    check({n: np.reshape(t["data"], t["shape"]) for n, t in found.items()}, expected(name, ids))
    assert answer.json["id"] == "seven"
    about = server.ask(f"/v2/models/{name}").json
    stated = {tensor["name"]: tensor for tensor in about["outputs"]}
    for output, tensor in found.items():
        assert tensor["datatype"] == stated[output]["datatype"]
        fits = zip(tensor["shape"], stated[output]["shape"], strict=True)
        assert all(size in (axis, *([size] if axis == -1 else [])) for size, axis in fits)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_tritons_client_gets_the_same_over_http(server: Server, name: str, binary: bool) -> None:
    ids = rows(name)
    given = triton_http.InferInput("input_ids", list(ids.shape), "INT64")
    given.set_data_from_numpy(ids, binary_data=binary)
    wanted = expected(name, ids)
    asked = [triton_http.InferRequestedOutput(each, binary_data=binary) for each in wanted]
    with triton_http.InferenceServerClient(server.http) as client:
        result = client.infer(name, [given], outputs=asked)
        check({each: _texts(result.as_numpy(each)) for each in wanted}, wanted)
        by_default = client.infer(name, [given])
        check({each: _texts(by_default.as_numpy(each)) for each in wanted}, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_tritons_client_gets_the_same_over_grpc(server: Server, name: str) -> None:
    ids = rows(name)
    given = triton_grpc.InferInput("input_ids", list(ids.shape), "INT64")
    given.set_data_from_numpy(ids)
    wanted = expected(name, ids)
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        result = client.infer(name, [given])
        check({each: _texts(result.as_numpy(each)) for each in wanted}, wanted)
        # Values in the message's own fields, as other languages send them.
        message = triton_grpc.service_pb2.ModelInferRequest(model_name=name, id="eight")
        tensor = message.inputs.add(name="input_ids", datatype="INT64", shape=ids.shape)
        tensor.contents.int64_contents.extend(ids.ravel().tolist())
        message.outputs.add(name="logits")
        typed = client._client_stub.ModelInfer(message)
        assert (typed.id, len(typed.outputs)) == ("eight", 1)
        logits = np.reshape(typed.outputs[0].contents.fp32_contents, typed.outputs[0].shape)
        np.testing.assert_array_equal(logits.astype(np.float32), wanted["logits"])


def _texts(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype != object:
        return array
    # Those of JSON come as str, those of a binary part as bytes.
    texts = [text if isinstance(text, str) else text.decode() for text in array.ravel()]
    return np.array(texts).reshape(array.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ids_of_any_integer_type(server: Server, dtype: str) -> None:
    ids = rows("padded").astype(dtype)
    wanted = expected("padded", ids)["logits"]
    for client_module, address in ((triton_http, server.http), (triton_grpc, server.grpc)):
        given = client_module.InferInput("input_ids", list(ids.shape), dtype.upper())
        given.set_data_from_numpy(ids)
        with client_module.InferenceServerClient(address) as client:
            logits = client.infer("padded", [given]).as_numpy("logits")
        np.testing.assert_array_equal(logits, wanted)
    answer = server.ask("/v2/models/padded/infer", ids_request(ids, dtype.upper()))
    np.testing.assert_array_equal(np.float32(outputs_of(answer)["logits"]["data"]), wanted.ravel())


@pytest.mark.parametrize("name", ["bytes", "words"])
def test_texts(server: Server, name: str) -> None:
    wanted = expected(name, TEXTS)
    answer = outputs_of(server.ask(f"/v2/models/{name}/infer", text_request(TEXTS)))
    check({n: np.reshape(t["data"], t["shape"]) for n, t in answer.items()}, wanted)
    array = np.array([text.encode() for text in TEXTS], object)
    for client_module, address in ((triton_http, server.http), (triton_grpc, server.grpc)):
        for shape in ([3], [3, 1]):
            given = client_module.InferInput("text", shape, "BYTES")
            given.set_data_from_numpy(array.reshape(shape))
            with client_module.InferenceServerClient(address) as client:
                result = client.infer(name, [given])
            check({each: _texts(result.as_numpy(each)) for each in wanted}, wanted)


def test_nested_lists_and_only_the_outputs_that_are_asked_for(server: Server) -> None:
    ids = rows("notebook")
    request = ids_request(ids, outputs=[{"name": "probability"}, {"name": "label"}])
    request["inputs"][0]["data"] = ids.tolist()
    answer = server.ask("/v2/models/notebook/infer", request)
    assert [tensor["name"] for tensor in answer.json["outputs"]] == ["probability", "label"]
    assert outputs_of(answer)["label"]["data"] == expected("notebook", ids)["label"].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_v1_answers_as_predict_writes_a_file(server: Server, name: str) -> None:
    ids = rows(name)
    with OnnxClassifier(BUNDLES / name) as classifier:
        columns = {n: cells_of(c) for n, c in answer_columns(classifier, ids).items()}
    wanted = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for instances in (ids.tolist(), [{"input_ids": row} for row in ids.tolist()]):
        answer = server.ask(f"/v1/models/{name}:predict", {"instances": instances})
        assert answer.json == {"predictions": wanted}


def test_v1_takes_texts_and_rows_of_differing_length(server: Server) -> None:
    path = "/v1/models/words:predict"
    alone = server.ask(path, {"instances": TEXTS}).json
    assert alone == server.ask(path, {"instances": [{"text": text} for text in TEXTS]}).json
    assert len(alone["predictions"]) == len(TEXTS)
    ragged = server.ask("/v1/models/padded:predict", {"instances": [[1, 2], [3], [4, 5, 6]]})
    assert [sorted(each) for each in ragged.json["predictions"]] == [["label", "probability"]] * 3


def test_metadata_says_what_a_client_needs(server: Server) -> None:
    manifest = (BUNDLES / "words" / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    with triton_http.InferenceServerClient(server.http) as client:
        about = client.get_model_metadata("words")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("words")
        assert client.is_model_ready("words", digest)
        assert client.get_server_metadata()["name"] == "pe-deploy"
    assert about["versions"] == [digest]
    assert about["inputs"] == [
        {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
    ]
    assert about["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
    ]
    assert about["parameters"] == {"labels": ["animal", "food", "art"], "task": "classes"}
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        same = client.get_model_metadata("words", digest, as_json=True)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("words")
    assert same["versions"] == [digest]
    assert [each["name"] for each in same["outputs"]] == ["logits", "label", "probability"]
    assert server.ask("/").json == {"status": "alive"}
    assert server.ask("/v1/models").json == {"models": list(NAMES)}
    assert server.ask("/v1/models/words").json == {"name": "words", "ready": True}
    infer = server.ask(f"/v2/models/words/versions/{digest}/infer", text_request(TEXTS))
    assert infer.json["model_version"] == digest


KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def asked(url, name, rows):
    given = InferInput("input_ids", list(rows.shape), "INT64")
    given.set_data_from_numpy(rows, binary_data=True)
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    result = await client.infer(url, InferRequest(name, [given]), model_name=name)
    await client.close()
    return {each.name: each.as_numpy().tolist() for each in result.outputs}

url, name, rows = sys.argv[1], sys.argv[2], np.array(json.loads(sys.argv[3]))
print(json.dumps(asyncio.run(asked(url, name, rows))))
"""


def test_kserves_own_client(server: Server) -> None:
    need("serve", modules=("kserve",))
    # In a process of its own: in one with Triton's client, it finds its messages' names taken.
    ids = rows("notebook")
    command = [sys.executable, "-c", KSERVE, f"http://{server.http}", "notebook"]
    done = subprocess.run(
        [*command, json.dumps(ids.tolist())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    check({name: np.array(values) for name, values in found.items()}, expected("notebook", ids))


def test_metrics(server: Server) -> None:
    def count(line: str) -> float:
        text = server.ask("/metrics").body.decode()
        found = [each for each in text.splitlines() if each.startswith(f"{line} ")]
        return float(found[0].split()[1]) if found else 0.0

    requests = 'pe_deploy_requests_total{model="numbers",protocol="v2"}'
    answered = 'pe_deploy_rows_total{model="numbers"}'
    invalid = 'pe_deploy_errors_total{kind="invalid",model="numbers"}'
    unknown = 'pe_deploy_errors_total{kind="not_found",model=""}'
    histograms = (
        'pe_deploy_request_seconds_count{model="numbers",protocol="v2"}',
        'pe_deploy_request_rows_count{model="numbers"}',
    )
    names = (requests, answered, invalid, unknown, *histograms)
    before = [count(each) for each in names]
    server.ask("/v2/models/numbers/infer", ids_request(rows("numbers", 5)))
    server.ask("/v2/models/numbers/infer", ids_request([[77]]))
    server.ask("/v2/models/nobody/infer", ids_request([[1]]))
    after = [count(each) for each in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 5, 1, 1, 2, 1]


def test_texts_that_are_cut_are_counted(root: Path) -> None:
    with running([root / "models" / "languages"], "--no-grpc") as server:
        instances = ["x" * 999, "fish", "y" * 999]
        answer = server.ask("/v1/models/languages:predict", {"instances": instances})
        assert answer.status == 200
        lines = server.ask("/metrics").body.decode().splitlines()
    assert 'pe_deploy_truncated_texts_total{model="languages"} 2.0' in lines
