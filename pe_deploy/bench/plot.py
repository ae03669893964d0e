"""A benchmark as a picture: batch against sequences a second, both on log scales."""

from __future__ import annotations

import io
from pathlib import Path

from pe_deploy.bench.result import Benchmark
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.storage import atomic


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
    """Draw a panel for each number of threads, a line for each engine.

    Raises:
        InvalidInputError: the file is not a `.png`.
        MissingDependencyError: matplotlib is not installed.
    """
    check_plot(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    threads = result.threads
    figure = Figure(figsize=(1.2 + 4.6 * len(threads), 4.8), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, threads, strict=True):
        cells = result.of(count)
        for engine in result.engines:
            line = {b: cell[engine] for b, cell in cells.items() if engine in cell}
            axes.plot(
                list(line),
                [timing.sequences_per_second for timing in line.values()],
                label=engine,
                markersize=5,
                **(ENGINES[engine].line if engine in ENGINES else {}),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{count} thread{'s' if count > 1 else ''}")
        axes.set_xlabel("batch (rows a call)")
        axes.set_xticks(list(cells), [f"{batch:,}" for batch in cells])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(which="major", alpha=0.35)
        axes.grid(which="minor", axis="y", alpha=0.12)
    panels[0].set_ylabel("sequences a second")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(result.engines),
        frameon=False,
    )
    figure.suptitle(f"{result.bundle}, {result.length} ids a row\n{result.about['processor']}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic.write_bytes(path, buffer.getvalue())
