"""What a benchmark found, as plain values and as JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pe_deploy
from pe_deploy.bench.tables import latency_table, ratios_table
from pe_deploy.machine import processor_name
from pe_deploy.runtime import usable_cpus
from pe_deploy.storage.atomic import write_bytes
from pe_deploy.view import html

_PACKAGES = ("onnxruntime", "numpy", "torch", "onnx", "openvino", "pyarrow")


@dataclass(frozen=True)
class Spread:
    """The middle of many values, and the quartiles around it, which show the noise."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[np.float64]) -> Spread:
        """Of one value or more."""
        lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, lower, upper)


@dataclass(frozen=True)
class Timing:
    """One engine at one batch size and one number of threads.

    Attributes:
        engine: its name.
        threads: how many it may use.
        batch: rows a call.
        calls: how many were timed, in how many `rounds`.
        rounds: in each, every engine had one turn.
        median_us: the time of a call in µs.
        p95_us: 95 of 100 calls took no longer.
        sequences_per_second: rows a second at the median.
        ratio: how many times as fast as the baseline in the same round.
        worst_difference: the largest difference of a logit from pe_deploy's on this input.
    """

    engine: str
    threads: int
    batch: int
    calls: int
    rounds: int
    median_us: float
    p95_us: float
    sequences_per_second: float
    ratio: Spread
    worst_difference: float


@dataclass(frozen=True)
class Benchmark:
    """All timings of one run.

    Attributes:
        bundle: the bundle's path.
        baseline: what the engine `baseline` is.
        length: ids a row.
        timings: by threads, then batch, then engine.
        left_out: the engines that were asked for and not run, with the reason.
        about: the machine and the versions.
    """

    bundle: str
    baseline: str
    length: int
    timings: tuple[Timing, ...]
    left_out: Mapping[str, str]
    about: Mapping[str, str | int]

    def __repr__(self) -> str:
        ours = self.engines[0] if self.engines else ""
        ratios = [timing.ratio.median for timing in self.timings if timing.engine == ours]
        span = f"{min(ratios):.2f} to {max(ratios):.2f} times as fast" if ratios else "nothing"
        return (
            f"<Benchmark {self.bundle}, {self.length} ids a row: {span} as {self.baseline}; "
            f"{len(self.timings)} timings>"
        )

    def _repr_html_(self) -> str:
        ratios = [html.table(*ratios_table(self, count)) for count in self.threads]
        times = [html.table(*latency_table(self, count)) for count in self.threads]
        left_out = (f"not measured: {name} ({why})" for name, why in self.left_out.items())
        return html.page(
            f"Benchmark {self.bundle}: {self.length} ids a row",
            html.line(f"Baseline: {self.baseline}"),
            *ratios,
            *map(html.line, left_out),
            html.folded("Times", *times),
            html.line(f"On: {', '.join(f'{what} {value}' for what, value in self.about.items())}"),
        )

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that were timed, in order."""
        return tuple(dict.fromkeys(timing.engine for timing in self.timings))

    @property
    def threads(self) -> tuple[int, ...]:
        """The numbers of threads, in order."""
        return tuple(dict.fromkeys(timing.threads for timing in self.timings))

    def of(self, threads: int) -> dict[int, dict[str, Timing]]:
        """The timings with this number of threads: by batch, then by engine."""
        found: dict[int, dict[str, Timing]] = {}
        for timing in self.timings:
            if timing.threads == threads:
                found.setdefault(timing.batch, {})[timing.engine] = timing
        return found


def about() -> dict[str, str | int]:
    """The machine and the versions that a measurement was taken with."""
    found: dict[str, str | int] = {
        "processor": processor_name(),
        "processors": usable_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "pe_deploy": pe_deploy.__version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_json(result: Any, path: Path) -> None:
    """Write a result of this wing, a dataclass, whole."""
    text = json.dumps(dataclasses.asdict(result), indent=2, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())
