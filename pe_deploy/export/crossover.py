"""From how many rows on the throughput form of a graph is faster, measured where it is made."""

from __future__ import annotations

import dataclasses
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import onnx

from pe_deploy.bundle.artifacts import MANIFEST, ONNX, README, SIGNATURE, THROUGHPUT
from pe_deploy.bundle.bundle import Bundle, open_bundle, write_bundle
from pe_deploy.bundle.manifest import Dispatch
from pe_deploy.config import INPUT_IDS, LOGITS, Signature
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.export.passes.graph import RECURRENT
from pe_deploy.parity import random_ids
from pe_deploy.runtime.onnx import CPU, session_options
from pe_deploy.runtime.plan import CHUNK_ROWS
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort
from pe_deploy.storage.atomic import publishing

if TYPE_CHECKING:
    from pathlib import Path

CANDIDATES = tuple(sorted({round(2 ** (step / 32)) for step in range(32, 283)}))
"""Each number from 2 to 46, and on to 450 in steps of a fiftieth.

From one to the next the gain moves by 1% to 3%: it costs no more to be one too late.
"""

_WORTH_IT = 1.02
"""How much faster the throughput form has to be: a difference that shows above the noise."""

_ROUNDS = 99  # a thread is slower for some ms now and then: that is a few of these
_SECONDS = 0.15  # for each number of rows that is tried, if that allows three rounds

_CLOCK_STEPS = 10
"""In a thousand looks at a clock that can time a call; one that counts ticks of 16 ms makes one."""

_STATE_BYTES = 2**22
"""What one step of a chunk works on at most: more rows no longer help, and take memory."""

_SHARE = 15e6
"""Operations of one share: some 0.2 ms, where handing it to a thread takes 0.03 to 0.08."""

_SHARE_ROWS = 3
"""Fewer rows of a wide model take one thread as long as these: reading its weights is the work."""

_WIDE = 192
"""From this width of a state on, onnxruntime's own threads shorten a step of one row."""


def dispatch_of(
    latency: onnx.ModelProto,
    throughput: onnx.ModelProto | None,
    signature: Signature,
    crossover: int | None = None,
) -> Dispatch:
    """How to run two forms of a graph; without a crossover where the second is never faster.

    Args:
        latency: the graph from `to_onnx`.
        throughput: the graph from `to_throughput`, if there is one.
        signature: what the model takes.
        crossover: rows from which the throughput form is to run; by default it is measured.
    """
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in latency.graph.initializer}
    layers = [node for node in latency.graph.node if node.op_type in RECURRENT]
    widths = [a.i for node in layers for a in node.attribute if a.name == "hidden_size"]
    own_threads = max(widths, default=0) >= _WIDE
    # A step reads and writes about eight arrays of the size of all states.
    fitting = _STATE_BYTES // (8 * 4 * max(1, sum(widths)))
    chunk_rows = min(CHUNK_ROWS, 2 ** max(0, fitting.bit_length() - 1))
    weights = sum(sizes.get(name, 0) for node in layers for name in node.input[1:3])
    operations = 2 * max(1, weights) * signature.max_length  # of one row
    share_rows = max(_SHARE_ROWS if own_threads else 1, math.ceil(_SHARE / operations))
    if throughput is None:
        crossover = None
    elif crossover is None:
        models = (latency.SerializeToString(), throughput.SerializeToString())
        crossover = measured_crossover(*models, signature)
    return Dispatch(crossover, max(crossover or 1, chunk_rows), share_rows, own_threads)


def measured_crossover(latency: bytes, throughput: bytes, signature: Signature) -> int | None:
    """The least of `CANDIDATES` from which the throughput form is faster on one thread, if any.

    Both run the same rows in turns; what counts is the median of the ratios. Bisection: where the
    form pays for some number of rows, it pays for every larger one.
    """
    sessions = [
        ort.InferenceSession(model, session_options(1), [CPU]) for model in (latency, throughput)
    ]
    found = bisect_left(
        CANDIDATES, True, key=lambda rows: _gain(sessions, signature, rows) >= _WORTH_IT
    )
    return CANDIDATES[found] if found < len(CANDIDATES) else None


def tune(bundle: Bundle) -> Bundle:
    """Measure the crossover of a bundle on this machine, and publish the bundle with it.

    Raises:
        BundleError: the bundle holds no `model.throughput.onnx`, or is another one by now; that
            one stays as it is.
        InvalidInputError: it is signed, and would no longer be what was signed.
    """

    def is_the_one_measured(replaced: Path) -> None:
        try:
            same = (replaced / MANIFEST).read_bytes() == bundle.manifest_json
        except OSError:  # it is gone
            same = False
        if not same or (replaced / SIGNATURE).exists():
            raise BundleError(f"{bundle.path} was changed while it was measured; tune it again")

    manifest = bundle.manifest
    models = (bundle.read(ONNX), bundle.read(THROUGHPUT))
    if bundle.signature is not None:
        raise InvalidInputError(f"{bundle.path} is signed; export it here to have it tuned")
    # Where the form never pays on this machine, it is left to the largest batches.
    found = measured_crossover(*models, manifest.signature) or CANDIDATES[-1]
    chunk_rows = max(found, manifest.dispatch.chunk_rows)
    dispatch = manifest.dispatch._replace(crossover=found, chunk_rows=chunk_rows)
    readme = bundle.read_beside(README)
    files = {**bundle.files, **({} if readme is None else {README: readme})}
    with publishing(bundle.path, is_the_one_measured) as staging:
        write_bundle(staging, dataclasses.replace(manifest, dispatch=dispatch), files)
        tuned = open_bundle(staging)
    return dataclasses.replace(tuned, folder=bundle.path)


def _gain(sessions: list[ort.InferenceSession], signature: Signature, rows: int) -> float:
    """How many times as fast the second session is.

    One row less and one more are run as well: some size may happen to lie badly in memory.
    """
    rng = np.random.default_rng(0)
    feeds = [
        {INPUT_IDS: random_ids(signature, near, signature.max_length, rng)}
        for near in (rows, rows - 1, rows + 1)
    ]
    for feed in feeds:
        for session in sessions:
            session.run([LOGITS], feed)
    ratios: list[float] = []
    clock, spent = _clock(), 0
    while len(ratios) < len(feeds) or (len(ratios) < _ROUNDS and spent < _SECONDS * 1e9):
        feed, taken = feeds[len(ratios) % len(feeds)], []
        for session in sessions:
            started = clock()
            session.run([LOGITS], feed)
            taken.append(clock() - started)
        ratios.append(taken[0] / taken[1])
        spent += sum(taken)
    return median(ratios)


def _clock() -> Callable[[], int]:
    """What times a session of one thread, in ns.

    The processor time of this thread, which does all the work: what else the machine does takes
    none of it. Where that moves in steps too large to time a call, as on Windows, the time of day.
    """
    looks = {time.thread_time_ns() for _ in range(1000)}
    return time.thread_time_ns if len(looks) > _CLOCK_STEPS else time.perf_counter_ns
