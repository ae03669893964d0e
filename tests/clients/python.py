"""Answer requests with a raw `model.onnx`, as a program does that knows nothing of pe_deploy.

`python python.py < job` prints the answers as JSON: for each level a list, for each request
`{logits, dims}` or `{error}`. With `alone` in the job, each request gets a process and a session
of its own; one that ends that process is answered by `{exit_code}`.
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


def answer(session: ort.InferenceSession, request: Request) -> Answer:
    array = np.frombuffer(base64.b64decode(request["base64"]), request["dtype"])
    try:
        logits = session.run(["logits"], {request["input"]: array.reshape(request["dims"])})[0]
    except Exception as error:  # noqa: BLE001 - whatever the binding raises is an answer
        return {"error": str(error)}
    return {"logits": logits.ravel().tolist(), "dims": list(logits.shape)}


def answer_alone(model: str, level: str, request: Request) -> Answer:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer(open_session(model, level), request), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"exit_code": exit_code} if exit_code else dict(json.loads(text))


def answers(job: dict[str, Any], level: str) -> list[Answer]:
    if job["alone"]:
        return [answer_alone(job["model"], level, request) for request in job["requests"]]
    session = open_session(job["model"], level)
    with ThreadPoolExecutor(8 if job["together"] else 1) as pool:
        return list(pool.map(lambda request: answer(session, request), job["requests"]))


if __name__ == "__main__":
    job = json.load(sys.stdin)
    json.dump([answers(job, level) for level in job["levels"]], sys.stdout)
