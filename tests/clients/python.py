"""Answer requests with a raw `model.onnx`, as a program does that knows nothing of pe_deploy.

`python python.py < jobs` prints the answers of each job as JSON: for each level a list, for each
request `{logits, dims}` or `{error}`. With `alone` in the job, each two requests get a process and
a session of their own; a process that ends before it has answered gives `{exit_code}` for both.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

Request = dict[str, Any]
Answer = dict[str, Any]


def open_session(model: str, level: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def array_of(request: Request) -> NDArray[Any]:
    if request["dtype"] == "string":
        return np.array(request["texts"], np.object_)
    flat = np.frombuffer(base64.b64decode(request["base64"]), request["dtype"])
    return flat.reshape(request["dims"])


def answer(session: ort.InferenceSession, request: Request) -> Answer:
    try:
        logits = session.run(["logits"], {request["input"]: array_of(request)})[0]
    except Exception as error:  # noqa: BLE001 - whatever the binding raises is an answer
        return {"error": str(error)}
    return {"logits": logits.ravel().tolist(), "dims": list(logits.shape)}


def answer_alone(model: str, level: str, requests: list[Request]) -> list[Answer]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        session = open_session(model, level)
        with os.fdopen(writing, "w") as pipe:
            json.dump([answer(session, request) for request in requests], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [{"exit_code": exit_code}] * len(requests) if exit_code else list(json.loads(text))


def answers(job: dict[str, Any], level: str) -> list[Answer]:
    model, requests = job["model"], job["requests"]
    if job["alone"]:
        pairs = zip(requests[::2], requests[1::2], strict=True)
        return [one for pair in pairs for one in answer_alone(model, level, list(pair))]
    session = open_session(model, level)
    with ThreadPoolExecutor(8 if job["together"] else 1) as pool:
        return list(pool.map(lambda request: answer(session, request), requests))


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    json.dump([[answers(job, level) for level in job["levels"]] for job in jobs], sys.stdout)
