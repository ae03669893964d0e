"""`pe-deploy bench`: how fast a bundle is, beside the engines that one would otherwise pick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pe_deploy import bench as wing
from pe_deploy.bench import Benchmark, ColdStart, FileRate, Serving
from pe_deploy.bench.plot import check_plot
from pe_deploy.bench.tables import (
    cold_table,
    latency_table,
    rate_facts,
    ratios_table,
    serving_table,
)
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.cli.console import facts, out, print_about, share_of, table
from pe_deploy.cli.shared_options import ARG, MODULE, WEIGHTS
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.model_config import trained_from


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    batches: Annotated[
        str, typer.Option(help="Rows a call, separated by commas.")
    ] = "1,8,64,512,4096",
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads; by default 1 and all processors.")
    ] = None,
    length: Annotated[int | None, typer.Option(help="Ids a row; by default the longest.")] = None,
    engines: Annotated[
        str | None,
        typer.Option(
            help="Of pe_deploy, baseline, eager, torchscript, openvino, compile; "
            "by default all but compile, which takes a minute to start."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="About how long to measure.")] = 25.0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Take the torch module from here, not from the bundle.")
    ] = None,
    module: Annotated[str | None, MODULE] = None,
    weights: Annotated[str | None, WEIGHTS] = None,
    arg: Annotated[list[str] | None, ARG] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Measure predict on this file against the rows in memory."),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Measure import to first answer, memory and size.")
    ] = False,
    serving: Annotated[
        bool, typer.Option("--serving", help="Measure serve beside KServe's own server.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Measure the crossover of the two forms, and record it."),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure as JSON.")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Draw speed and ratios by rows a call: .png.")
    ] = None,
) -> None:
    """Time BUNDLE and other engines in turns: the ratios of one run, with their quartiles."""
    if tune:
        if cold or file or serving or plot_file or json_file:
            raise InvalidInputError("--tune measures one number; give it alone")
        _tune(bundle)
        return
    if cold + bool(file) + serving > 1:
        raise InvalidInputError("--cold, --file, --serving measure different things; give one")
    if (cold or file or serving) and plot_file:
        raise InvalidInputError("--plot draws batch sizes; leave out --cold, --file and --serving")
    counts = [] if threads is None else _numbers("threads", threads)
    result: Benchmark | FileRate | ColdStart | Serving
    if cold:
        result = _cold(bundle, seconds)
    elif serving:
        result = _serving(bundle, seconds)
    elif file:
        if len(counts) > 1:
            raise InvalidInputError(f"threads is {threads}; allowed with --file: one number")
        result = _file(bundle, file, counts[0] if counts else None, seconds)
    else:
        result = _engines(
            bundle,
            plot_file,
            batches=_numbers("batches", batches),
            threads=counts or None,
            length=length,
            engines=wing.USUAL_ENGINES if engines is None else _parts(engines),
            seconds=seconds,
            trained=trained_from(checkpoint, module, weights, arg or ()),
        )
    print_about(result.about)
    if json_file:
        wing.save_json(result, json_file)


def _tune(path: Path) -> None:
    with requires_extra("train"):
        from pe_deploy.export.crossover import tune
    before = open_bundle(path)
    after = tune(before)
    facts(
        f"Published {path} anew",
        [
            ("crossover", f"{after.manifest.dispatch.crossover} rows"),
            ("it was", f"{before.manifest.dispatch.crossover} rows"),
        ],
    )


def _engines(bundle: Path, plot_file: Path | None, **settings: Any) -> Benchmark:
    if plot_file:
        check_plot(plot_file)
    with share_of(f"bench {bundle.name}") as progress:
        result = wing.bench(bundle, progress=progress, **settings)
    if plot_file:
        wing.plot(result, plot_file)
    out.print(f"{bundle}: {result.length} ids a row", markup=False, style="bold")
    out.print(f"Baseline: {result.baseline}\n", markup=False)
    for made in (ratios_table, latency_table):
        for count in result.threads:
            table(*made(result, count))
    for engine, reason in result.left_out.items():
        out.print(f"not measured: {engine} ({reason})", markup=False)
    return result


def _file(bundle: Path, source: Path, threads: int | None, seconds: float) -> FileRate:
    with share_of(f"bench {source.name}") as progress:
        result = wing.file_rate(bundle, source, threads=threads, seconds=seconds, progress=progress)
    facts(*rate_facts(result))
    return result


def _cold(bundle: Path, seconds: float) -> ColdStart:
    with share_of("cold start") as progress:
        result = wing.cold_start(bundle, seconds=seconds, progress=progress)
    table(*cold_table(result))
    return result


def _serving(bundle: Path, seconds: float) -> Serving:
    with share_of("serving") as progress:
        result = wing.serving(bundle, seconds=seconds, progress=progress)
    table(*serving_table(result))
    for server, reason in result.left_out.items():
        out.print(f"not measured: {server} ({reason})", markup=False)
    return result


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in _parts(text)]
    except ValueError:
        raise InvalidInputError(
            f"{name} is {text!r}; allowed: whole numbers separated by commas"
        ) from None
