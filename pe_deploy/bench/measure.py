"""Engines take turns, round after round; ratios are taken within a round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.builders import BASELINE, OURS, USUAL_ENGINES, check_engines, why_not
from pe_deploy.bench.models import Subject, subject_of
from pe_deploy.bench.result import Benchmark, Spread, Timing, about
from pe_deploy.bench.rounds import Progress, check_seconds, in_turns
from pe_deploy.bench.worker import Worker, worker
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.errors import InvalidInputError, ParityError, PeDeployError
from pe_deploy.model_config import TrainedFrom
from pe_deploy.runtime import usable_cpus
from pe_deploy.runtime.engines import ENGINES

BATCHES = (1, 8, 64, 512, 4096)
SECONDS = 25.0

_TURN_SECONDS = 0.002
_TURN_SECONDS_WITH_POOL = 0.01
_SAME = 1e-3
"""Of the largest logit: engines further apart than this do not run the same model."""


def bench(
    bundle: str | Path,
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] | None = None,
    length: int | None = None,
    engines: Sequence[str] = USUAL_ENGINES,
    seconds: float = SECONDS,
    trained: TrainedFrom | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure a bundle and the other engines side by side.

    It starts processes that import the caller's main module: a script that calls this needs
    `if __name__ == "__main__":`.

    Args:
        bundle: the bundle's folder.
        batches: rows a call.
        threads: numbers of threads; by default 1 and the processors that this process may use.
        length: ids a row, by default `max_length`.
        engines: which to run; `pe_deploy` and `baseline` always are.
        seconds: about how long to measure, warm-up and the start of processes aside; where calls
            are long it takes more, since each engine gets at least three turns.
        trained: where the torch module that the bundle was made from is to be had; by default,
            if it was exported from a checkpoint, it is built again from its weights.
        progress: called with the share that is done, 0 to 1.

    Raises:
        InvalidInputError: a setting outside its range.
        BundleError: the bundle cannot be opened.
        CheckpointError: the checkpoint is not what the bundle was made from.
        ParityError: an engine computes something else.
        PeDeployError: pe_deploy itself or the baseline fails.
    """
    names = check_engines(engines)
    batches = _checked("batch", batches)
    threads = _checked("threads", (1, usable_cpus()) if threads is None else threads)
    check_seconds(seconds)
    opened = open_bundle(bundle)
    signature = opened.manifest.signature
    shortest, longest = signature.min_length, signature.max_length
    length = longest if length is None else length
    if not shortest <= length <= longest:
        raise InvalidInputError(f"length is {length}; allowed: {shortest} to {longest}")
    subject = subject_of(opened, trained)
    left_out = {name: reason for name in names if (reason := why_not(name, subject))}

    timings: list[Timing] = []
    steps, left = len(threads) * len(batches), seconds
    for count in threads:
        with ExitStack() as stack:
            running = [name for name in names if name not in left_out]
            workers = start_workers(stack, subject, running, count)
            for batch in batches:
                made, spent = measure_batch(workers, count, batch, length, left / steps, left_out)
                timings += made
                steps, left = steps - 1, left - spent
                if progress is not None:
                    progress(1 - steps / (len(threads) * len(batches)))
    return Benchmark(str(bundle), subject.baseline, length, tuple(timings), left_out, about())


def _checked(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """The values in order, each once."""
    for value in values:
        if type(value) is not int or value < 1:
            raise InvalidInputError(f"{name} is {value!r}; allowed: 1 or more")
    if not values:
        raise InvalidInputError(f"{name} is empty; allowed: at least one number")
    return tuple(sorted(set(values)))


def start_workers(
    stack: ExitStack, subject: Subject, names: Sequence[str], threads: int
) -> dict[str, Worker]:
    """Engines with one thread share a process; with more, each has its own."""
    if threads == 1:
        shared = stack.enter_context(worker(subject, threads))
        return dict.fromkeys(names, shared)
    return {name: stack.enter_context(worker(subject, threads)) for name in names}


def measure_batch(
    workers: dict[str, Worker],
    threads: int,
    batch: int,
    length: int,
    seconds: float,
    left_out: dict[str, str],
) -> tuple[list[Timing], float]:
    """Time every engine at one batch size; one that fails goes from `workers` to `left_out`.

    Returns:
        What the rounds say, an engine each, and the seconds that they took.
    """
    turn_seconds = _TURN_SECONDS if threads == 1 else _TURN_SECONDS_WITH_POOL
    turns = {}
    differences: dict[str, float] = {}
    ours: NDArray[np.floating[Any]] | None = None
    for name, host in list(workers.items()):
        try:
            each, logits = host.call("warm_up", name, batch, length)
        except PeDeployError as error:
            if name in (OURS, BASELINE):
                raise PeDeployError(f"{name} fails: {error}") from error
            left_out[name] = f"threads {threads}, batch {batch}: {error}"
            del workers[name]
            continue
        ours = logits if ours is None else ours
        try:
            differences[name] = _difference(name, logits, ours)
        except ParityError as error:
            if not ENGINES[name].independent:  # one that reads the baseline's graph in its own way
                raise
            left_out[name] = f"threads {threads}, batch {batch}: {error}"
            del workers[name]
            continue
        turns[name] = partial(host.call, "turn", name, max(1, round(turn_seconds / each)))
    started = time.perf_counter()
    taken = in_turns(turns, seconds)
    spent = time.perf_counter() - started
    middle = {name: [np.median(calls) for calls in rounds] for name, rounds in taken.items()}
    timings = []
    for name, rounds in taken.items():
        calls = np.concatenate(rounds) / 1e3
        median, p95 = np.percentile(calls, [50, 95]).tolist()
        timings.append(
            Timing(
                engine=name,
                threads=threads,
                batch=batch,
                calls=len(calls),
                rounds=len(rounds),
                median_us=median,
                p95_us=p95,
                sequences_per_second=batch / median * 1e6,
                ratio=Spread.of(np.divide(middle[BASELINE], middle[name])),
                worst_difference=differences[name],
            )
        )
    return timings, spent


def _difference(
    name: str, logits: NDArray[np.floating[Any]], ours: NDArray[np.floating[Any]]
) -> float:
    """The largest difference of a logit.

    Raises:
        ParityError: it is more than float32 explains.
    """
    if logits.shape != ours.shape:
        raise ParityError(f"{name} answers {list(logits.shape)}, pe_deploy {list(ours.shape)}")
    worst = float(np.abs(logits - ours).max())
    if not worst <= _SAME * max(1.0, float(np.abs(ours).max())):
        raise ParityError(
            f"{name} computes something else than pe_deploy: a logit differs by {worst:.2g}"
        )
    return worst
