"""`pe-deploy predict`: label a file of any size, in constant memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.cli.console import out, progress_bar
from pe_deploy.cli.options import PUBLIC_KEY
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import predict_file


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A .csv, .jsonl, .parquet or .npz file.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where to write; same suffix as INPUT.")
    ],
    threads: Annotated[
        int | None, typer.Option(help="Threads of onnxruntime; by default, what it may use.")
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Write INPUT's rows, in their order, with a label and its probability added.

    A file that has a column of that name keeps it; the added one is then called predicted_label
    or predicted_probability.
    """
    started = time.perf_counter()
    with (
        OnnxClassifier(bundle, num_threads=threads, public_key=public_key) as classifier,
        progress_bar() as bar,
    ):
        task = bar.add_task(f"predict {source.name}", total=1.0)
        count = predict_file(
            classifier, source, output, lambda done: bar.update(task, completed=done)
        )
    seconds = time.perf_counter() - started
    out.print(f"{count:,} rows in {seconds:.1f} s → {output}", markup=False, soft_wrap=True)
