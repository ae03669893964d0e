"""`pe-deploy serve`: answer over HTTP and gRPC, by the protocols of KServe and Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.cli.console import err
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.serve.names import named
from pe_deploy.serve.workers import Plan, Said, run


def serve(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles.")],
    name: Annotated[
        list[str] | None,
        typer.Option(help="What requests call it, by default its folder; one for each BUNDLE."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="For HTTP; 0 takes one that is free.")
    ] = 8080,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="For gRPC, likewise.")] = 8081,
    no_grpc: Annotated[bool, typer.Option("--no-grpc", help="Serve HTTP alone.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes, which share the processors.")
    ] = 1,
    max_rows: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Rows of a request, at most.")
    ] = 4096,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Answer requests for BUNDLEs by the Open Inference Protocol v2, and KServe's v1.

    It is ready when the golden vectors of each were replayed, and stops at SIGTERM or Ctrl-C.
    """
    plan = Plan(
        bundles=named(bundles, name or []),
        host=host,
        http_port=http_port,
        grpc_port=None if no_grpc else grpc_port,
        workers=workers,
        most_rows=max_rows,
        public_key=public_key,
    )
    names = ", ".join(each for each, _ in plan.bundles)
    run(
        plan, Said(_listens, lambda: _say(f"Ready: {names}"), lambda how: _say(f"{how}; restarted"))
    )


def _listens(http: str, grpc: str | None) -> None:
    _say(f"Listening: http://{http}" + (f", grpc {grpc}" if grpc else ""))


def _say(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True)
