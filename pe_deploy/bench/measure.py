"""Engines take turns, round after round; ratios are taken within a round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.contenders import BASELINE, OURS, USUAL_ENGINES, check_engines, why_not
from pe_deploy.bench.result import Benchmark, Spread, Timing, about
from pe_deploy.bench.subject import Subject, subject_of
from pe_deploy.bench.worker import Worker, worker
from pe_deploy.bundle import open_bundle
from pe_deploy.config import Signature, Weights
from pe_deploy.errors import InvalidInputError, ParityError, PeDeployError
from pe_deploy.runtime import usable_cpus

BATCHES = (1, 8, 64, 512, 4096)
SECONDS = 25.0

_FEWEST_ROUNDS = 3
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
    checkpoint: Path | None = None,
    weights: Weights = "best",
    progress: Callable[[float], None] | None = None,
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
        checkpoint: the weights that the bundle was made from, if they shall come from there.
        weights: "best" or "last", of a checkpoint folder.
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
    if not 0 < seconds < float("inf"):
        raise InvalidInputError(f"seconds is {seconds}; allowed: above 0")
    opened = open_bundle(bundle)
    length = _checked_length(length, opened.manifest.signature)
    subject = subject_of(opened, checkpoint, weights)
    left_out = {name: reason for name in names if (reason := why_not(name, subject))}

    timings: list[Timing] = []
    steps = [(count, batch) for count in threads for batch in batches]
    budget = seconds
    for count in threads:
        with ExitStack() as stack:
            running = [name for name in names if name not in left_out]
            workers = _start(stack, subject, running, count)
            for batch in batches:
                left = len(steps) - steps.index((count, batch))
                race = _Race(workers, count, batch, length, left_out)
                budget -= race.run(budget / left)
                timings += race.timings()
                if progress is not None:
                    progress((len(steps) - left + 1) / len(steps))
    return Benchmark(str(bundle), subject.baseline, length, tuple(timings), left_out, about())


def _checked(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """The values in order, each once."""
    for value in values:
        if type(value) is not int or value < 1:
            raise InvalidInputError(f"{name} is {value!r}; allowed: 1 or more")
    if not values:
        raise InvalidInputError(f"{name} is empty; allowed: at least one number")
    return tuple(sorted(set(values)))


def _checked_length(length: int | None, signature: Signature) -> int:
    if length is None:
        return signature.max_length
    if not 1 <= length <= signature.max_length:
        raise InvalidInputError(f"length is {length}; allowed: 1 to {signature.max_length}")
    return length


def _start(
    stack: ExitStack, subject: Subject, names: Sequence[str], threads: int
) -> dict[str, Worker]:
    """Engines with one thread share a process; with more, each has its own."""
    if threads == 1:
        shared = stack.enter_context(worker(subject, threads))
        return dict.fromkeys(names, shared)
    return {name: stack.enter_context(worker(subject, threads)) for name in names}


@dataclass
class _Race:
    """Every engine at one batch size and number of threads."""

    workers: dict[str, Worker]
    threads: int
    batch: int
    length: int
    left_out: dict[str, str]
    taken: dict[str, list[list[int]]] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)

    def run(self, seconds: float) -> float:
        """Run rounds for about this long; return how long they took."""
        calls = self._warm_up()
        self.taken = {name: [] for name in calls}
        order = list(calls)
        shuffled = random.Random(0)
        started = time.perf_counter()
        rounds = 0
        while rounds < _FEWEST_ROUNDS or time.perf_counter() - started < seconds:
            shuffled.shuffle(order)
            for name in order:
                self.taken[name].append(self.workers[name].call("turn", name, calls[name]))
            rounds += 1
        return time.perf_counter() - started

    def _warm_up(self) -> dict[str, int]:
        """Settle each engine, hold its logits against ours; return how many calls a turn has."""
        calls: dict[str, int] = {}
        ours: NDArray[np.floating[Any]] | None = None
        turn = _TURN_SECONDS if self.threads == 1 else _TURN_SECONDS_WITH_POOL
        for name, host in list(self.workers.items()):
            host.call("choose", self.batch, self.length)
            try:
                each, logits = host.call("warm_up", name)
            except PeDeployError as error:
                if name in (OURS, BASELINE):
                    raise PeDeployError(f"{name} fails: {error}") from error
                self.left_out[name] = f"threads {self.threads}, batch {self.batch}: {error}"
                del self.workers[name]
                continue
            ours = logits if ours is None else ours
            self.differences[name] = _difference(name, logits, ours)
            calls[name] = max(1, round(turn / each))
        return calls

    def timings(self) -> list[Timing]:
        """What the rounds say, an engine each."""
        middle = {name: [float(np.median(t)) for t in turns] for name, turns in self.taken.items()}
        return [
            self._timing(name, np.concatenate(turns) / 1e3, middle[BASELINE], middle[name])
            for name, turns in self.taken.items()
        ]

    def _timing(
        self,
        name: str,
        taken: NDArray[np.float64],
        baseline: Sequence[float],
        own: Sequence[float],
    ) -> Timing:
        median, p95 = np.percentile(taken, [50, 95]).tolist()
        return Timing(
            engine=name,
            threads=self.threads,
            batch=self.batch,
            calls=len(taken),
            rounds=len(own),
            median_us=median,
            p95_us=p95,
            sequences_per_second=self.batch / median * 1e6,
            ratio=Spread.of([theirs / ours for theirs, ours in zip(baseline, own, strict=True)]),
            worst_difference=self.differences[name],
        )


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
