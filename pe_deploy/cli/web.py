"""`pe-deploy web`: a page that runs a bundle in its visitors' browsers."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.cli.console import facts
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.web import Input, make_site, publish
from pe_deploy.web.publish import check_place


def web(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the site; it appears whole.")
    ],
    onnxruntime_web: Annotated[
        Path, typer.Option(help="The package onnxruntime-web, where npm installed it.")
    ] = Path("node_modules/onnxruntime-web"),
    tokenizers: Annotated[
        Path,
        typer.Option(help="The package @huggingface/tokenizers, for a bundle with tokenizer.json."),
    ] = Path("node_modules/@huggingface/tokenizers"),
    title: Annotated[
        str | None, typer.Option(help="The page's name; by default that of the bundle's folder.")
    ] = None,
    input_kind: Annotated[
        Input | None,
        typer.Option("--input", help="How a visitor gives the input; by default what fits."),
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Make a folder of static files, a page that runs BUNDLE in its visitors' browsers."""
    check_place(output)
    site = make_site(
        bundle,
        onnxruntime_web,
        tokenizers=tokenizers,
        title=title,
        input=input_kind,
        public_key=public_key,
    )
    publish(site, output)
    rows = [(name, _weight(files)) for name, files in _parts(site.files).items()]
    facts(
        f"Published {output}: {site.title}, by {site.input}",
        [*rows, ("together", _weight(site.files))],
    )
    typer.echo(f"See it: python3 -m http.server -d {output}")


def _parts(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """The files by what they are for."""
    names = {
        "bundle": "the model",
        "onnxruntime": "onnxruntime-web",
        "tokenizers": "tokenizers",
        "pe-deploy": "the module",
    }
    parts: dict[str, dict[str, bytes]] = {}
    for path, data in sorted(files.items()):
        folder = path.partition("/")[0]
        parts.setdefault(names.get(folder, "the page"), {})[path] = data
    return parts


def _weight(files: Mapping[str, bytes]) -> str:
    """The bytes as they lie there, and as a server that packs them sends them."""
    packed = sum(len(gzip.compress(data)) for data in files.values())
    return f"{sum(map(len, files.values())):,} bytes, {packed:,} packed"
