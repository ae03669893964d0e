"""A benchmark as the command prints it and a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pe_deploy.view.html import Table

if TYPE_CHECKING:
    from pe_deploy.bench.cold import ColdStart
    from pe_deploy.bench.file_rate import FileRate
    from pe_deploy.bench.result import Benchmark, Spread, Timing
    from pe_deploy.bench.serving import Serving

_MB = 1e6


def ratios_table(result: Benchmark, threads: int) -> Table:
    """How many times as fast as the baseline: ours with its quartiles, then the others."""
    ours, _, *others = result.engines
    rows: list[tuple[object, ...]] = [
        (
            f"{batch:,}",
            f"{cell[ours].ratio.median:.2f}×",
            quartiles(cell[ours].ratio),
            *(f"{cell[name].ratio.median:.2f}×" if name in cell else "–" for name in others),
        )
        for batch, cell in result.of(threads).items()
    ]
    title = f"{threads_in_words(threads)}: speed as a multiple of the baseline's"
    return title, ("batch", ours, "quartiles", *others), rows


def latency_table(result: Benchmark, threads: int) -> Table:
    """The time of a call at each batch size, a row for each engine."""
    cells = result.of(threads)
    rows: list[tuple[object, ...]] = [
        (name, *(_latency(cell[name]) if name in cell else "–" for cell in cells.values()))
        for name in result.engines
    ]
    title = f"{threads_in_words(threads)}: a call in µs, median and 95th percentile"
    return title, ("engine", *(f"× {batch:,}" for batch in cells)), rows


def rate_facts(result: FileRate) -> tuple[str, list[tuple[str, object]]]:
    """A title, and rows a second from file to file and in memory."""
    share = result.ratio
    return (
        f"{result.file}: {result.rows:,} rows, {threads_in_words(result.threads)}",
        [
            ("file to file", f"{result.file_rows_per_second:,.0f} rows a second"),
            ("in memory", f"{result.memory_rows_per_second:,.0f} rows a second"),
            (
                "share",
                f"{share.median:.0%} (quartiles {share.lower:.0%} to {share.upper:.0%}, "
                f"{result.rounds} rounds)",
            ),
        ],
    )


def cold_table(result: ColdStart) -> Table:
    """A row for each way to a first answer."""
    rows: list[tuple[object, ...]] = [
        (
            start.name,
            f"{start.seconds.median:.3f}",
            f"{start.times_raw.median:.2f}×",
            quartiles(start.times_raw),
            f"{start.resident_bytes / _MB:,.0f}",
            f"{start.installed_bytes / _MB:,.0f}",
        )
        for start in result.starts
    ]
    columns = ("", "seconds", "times raw", "quartiles", "resident MB", "installed MB")
    return f"Import to first answer, {result.rounds} fresh processes each", columns, rows


def serving_table(result: Serving) -> Table:
    """A row for each server at each number of clients."""
    rows: list[tuple[object, ...]] = [
        (
            f"{served.clients} × {served.server}",
            f"{served.requests_per_second:,.0f}",
            f"{served.median_ms:.2f}",
            f"{served.p99_ms:.2f}",
            *((f"{served.ratio.median:.2f}×", quartiles(served.ratio)) if served.ratio else "––"),
        )
        for served in result.servers
    ]
    columns = ("clients", "requests/s", "ms", "99%", "times kserve", "quartiles")
    return f"{result.length} ids a request, {result.rounds} rounds", columns, rows


def quartiles(spread: Spread) -> str:
    """The lower and the upper one."""
    return f"{spread.lower:.2f}–{spread.upper:.2f}"


def threads_in_words(count: int) -> str:
    """How many threads."""
    return f"{count} thread{'' if count == 1 else 's'}"


def _latency(timing: Timing) -> str:
    digits = 1 if timing.median_us < 100 else 0
    return f"{timing.median_us:,.{digits}f}\n{timing.p95_us:,.{digits}f}"
