"""`pe-deploy build`: a bundle's C, compiled for this machine into a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.cli.console import facts, out
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.runtime import native
from pe_deploy.runtime.native_build import LIBRARY, RECORD


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle that holds model.c.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The folder, which appears whole; by default the bundle's with .build at its end.",
        ),
    ] = None,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Compile BUNDLE's model.c for this machine, and prove it, in a folder beside it.

    The compiler is the one that CC names, else cc, gcc or clang. What was compiled has to answer
    the golden vectors as was published; then NativeClassifier runs it.
    """
    place = native.build_place(bundle) if output is None else output
    made = native.build(bundle, place, public_key=public_key)
    rows: list[tuple[str, object]] = [
        (LIBRARY, f"{len(made.library):,} bytes"),
        (RECORD, f"{len(made.to_json()):,} bytes"),
        ("compiler", made.compiler),
        ("flags", " ".join(made.flags)),
        ("for", f"{made.system} on {made.machine}, {made.processor}"),
    ]
    facts(f"Built {place}", rows)
    out.print(
        f"Run it: NativeClassifier({str(bundle)!r}, build={str(place)!r})",
        markup=False,
        soft_wrap=True,
    )
