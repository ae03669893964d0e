"""A benchmark as a picture: by batch, sequences a second, and the ratio to the baseline.

A panel for each number of threads, and in each a line for each engine, named where it ends. It is
drawn to be read at the width of a README.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.bench.result import Benchmark, Timing
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.storage import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES = 4.2, 3.4
_NAMES_INCHES = 1.6
_NAME_APART = 0.075
"""Of a panel's height, between one name and the next."""


def check_plot(path: Path) -> None:
    """See before a long run that a plot can be written.

    Raises:
        InvalidInputError: the file is not a `.png`.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise InvalidInputError(f"plot is {path}; allowed: a .png file")
    with requires_extra("train"):
        import matplotlib.figure  # noqa: F401


def plot(result: Benchmark, path: Path) -> None:
    """Draw a column for each number of threads: speed above, ratios with their quartiles below.

    Raises:
        InvalidInputError: the file is not a `.png`.
        MissingDependencyError: matplotlib is not installed.
    """
    check_plot(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    threads = result.threads
    width, height = _PANEL_INCHES
    size = (width * len(threads) + _NAMES_INCHES, 2 * height)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    panels = figure.subplots(2, len(threads), sharex=True, sharey="row", squeeze=False)
    for (speeds, ratios), count in zip(panels.T, threads, strict=True):
        cells = result.of(count)
        for engine in result.engines:
            line = {batch: cell[engine] for batch, cell in cells.items() if engine in cell}
            _draw(speeds, ratios, engine, line)
        on = f"{count} thread{'s' if count > 1 else ''}"
        speeds.set_title(f"{on}: sequences a second", loc="left", fontsize=12)
        ratios.set_title(f"{on}: multiple of the baseline's speed", loc="left", fontsize=12)
        ratios.set_xlabel("rows a call", fontsize=12)
        for axes in (speeds, ratios):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(list(cells)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.tick_params(labelsize=11, length=0)
            axes.grid(color="0.9")
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
        speeds.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9g}"))
        ratios.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.9g}×"))
    # Where every panel ends is known once all are drawn: they share their scales.
    for axes in panels[:, -1]:
        _name(axes)
    about = f"{result.bundle}, {result.length} ids a row, on {result.about['processor']}"
    figure.suptitle(about, fontsize=13)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic.write_bytes(path, buffer.getvalue())


def _draw(speeds: Axes, ratios: Axes, engine: str, line: Mapping[int, Timing]) -> None:
    """Draw one engine's timings, by batch."""
    style: dict[str, Any] = {"markersize": 5, "linewidth": 1.8, "label": engine}
    style |= ENGINES[engine].line if engine in ENGINES else {}
    batches, found = list(line), [timing.ratio for timing in line.values()]
    speeds.plot(batches, [timing.sequences_per_second for timing in line.values()], **style)
    (drawn,) = ratios.plot(batches, [ratio.median for ratio in found], **style)
    ratios.fill_between(
        batches,
        [ratio.lower for ratio in found],
        [ratio.upper for ratio in found],
        color=drawn.get_color(),
        alpha=0.15,
        linewidth=0,
    )


def _name(axes: Axes) -> None:
    """Write each line's name beside its last point, in its colour, one above the other."""
    bottom, top = axes.get_ylim()
    scale = axes.yaxis.get_transform()
    low, high = scale.transform([bottom, top])
    ends = []
    for line in axes.get_lines():
        values = np.asarray(line.get_ydata(), float)
        if len(values):
            ends.append((float(scale.transform(values[-1]) - low) / (high - low), line))
    ends.sort(key=lambda end: end[0])
    for place, (_, line) in zip(_apart([end for end, _ in ends]), ends, strict=True):
        axes.annotate(
            str(line.get_label()),
            (1, place),
            (6, 0),
            "axes fraction",
            "offset points",
            va="center",
            color=line.get_color(),
            fontsize=12,
            fontweight="bold",
        )


def _apart(places: list[float]) -> list[float]:
    """The places, from below, moved as little as keeps each `_NAME_APART` from the next."""
    moved: list[list[float]] = []  # groups that touch, each around its own middle
    for place in places:
        moved.append([place])
        while len(moved) > 1 and _bottom(moved[-1]) - _top(moved[-2]) < _NAME_APART:
            last = moved.pop()
            moved[-1] += last
    return [
        _bottom(group) + number * _NAME_APART for group in moved for number in range(len(group))
    ]


def _bottom(group: list[float]) -> float:
    return sum(group) / len(group) - (len(group) - 1) * _NAME_APART / 2


def _top(group: list[float]) -> float:
    return sum(group) / len(group) + (len(group) - 1) * _NAME_APART / 2
