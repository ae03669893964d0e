"""What is counted, for Prometheus to fetch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

from pe_deploy.serve.refusal import Refusal
from pe_deploy.serve.workers import METRICS_FOLDER

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

_OF_A_CALL = ["model", "protocol"]
_requests = Counter("pe_deploy_requests", "Requests for answers, refused ones too", _OF_A_CALL)
_errors = Counter(
    "pe_deploy_errors", "Requests that got none, by what was wrong", ["model", "kind"]
)
_rows = Counter("pe_deploy_rows", "Rows that were answered", ["model"])
_seconds = Histogram(
    "pe_deploy_request_seconds",
    "From the whole request to its answer",
    _OF_A_CALL,
    buckets=_SECONDS,
)
_batch = Histogram(
    "pe_deploy_request_rows", "Rows of an answered request", ["model"], buckets=_ROWS
)
_cut = Counter("pe_deploy_truncated_texts", "Texts that were cut to the model's length", ["model"])


class Call:
    """One request for answers: set `rows` when they are known."""

    rows = 0


@contextmanager
def counted(model: str, protocol: str) -> Iterator[Call]:
    """Count a request, and how it ends; `model` is one that is served, or "" for any other."""
    call = Call()
    started = time.perf_counter()
    try:
        yield call
    except Refusal as refusal:
        _errors.labels(model, refusal.kind).inc()
        raise
    else:
        _rows.labels(model).inc(call.rows)
        _batch.labels(model).observe(call.rows)
    finally:
        _requests.labels(model, protocol).inc()
        _seconds.labels(model, protocol).observe(time.perf_counter() - started)


def count_refused(kind: str) -> None:
    """Count a request that was refused before it was known for which model it is."""
    _errors.labels("", kind).inc()


def count_cut(model: str, texts: int) -> None:
    """Count texts that were cut."""
    if texts:
        _cut.labels(model).inc(texts)


def exposition() -> bytes:
    """All of it, in Prometheus' text format; of all workers together, where they share a folder."""
    registry: CollectorRegistry = REGISTRY
    if METRICS_FOLDER in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return bytes(generate_latest(registry))
