"""How to export: what `export`, `export_module` and the command line all take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_deploy.config import CompactDtype
from pe_deploy.errors import InvalidInputError
from pe_deploy.export.c.source import DEFAULT_NAME, check_name
from pe_deploy.export.compact import check_compact
from pe_deploy.export.onnx import DEFAULT_OPSET, check_opset
from pe_deploy.parity import Tolerance
from pe_deploy.runtime.plan import CHUNK_ROWS

FORMATS = ("onnx", "torchscript", "c")
USUAL_FORMATS = ("onnx", "torchscript")

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class ExportOptions:
    """How to export; checked when made, before any work.

    Attributes:
        formats: which of "onnx", "torchscript" and "c" to make. The form in C is compiled for its
            proof, so that it needs a C compiler here.
        opset: the ONNX operator set to write.
        tolerance: how far apart the artifacts and torch may be; None for the usual one.
        sign: a PEM file with an elliptic-curve key, to sign the bundle with.
        throughput: whether to make `model.throughput.onnx`, the form for large batches, where it
            can be made and pays.
        text_graph: whether to make `model.text.onnx`, which takes texts by standard operators; for
            a tokenizer of words without a normaliser.
        license: of the model, by the name that model hubs have for it, as "apache-2.0"; stated in
            the README.
        compact: what to round the weights to, "float16" or "int8", so that the ONNX files take a
            half or a quarter of the bytes; None to leave them as they were trained.
        allow_flips: the share of labels that rounding may change, on held-out rows and on random
            ones; by default 0.001 of float16. For int8 it has to be stated.
        c_name: what the names in `model.c` begin with.
        crossover: rows from which that form is to be run. By default it is measured, which makes
            it the one thing in a bundle that may come out otherwise the next time.

    Raises:
        InvalidInputError: a format, an opset, a license, a compact type, a share of flips, a name
            or a crossover outside its range.
    """

    formats: Sequence[str] = USUAL_FORMATS
    opset: int = DEFAULT_OPSET
    tolerance: Tolerance | None = None
    sign: str | Path | None = None
    throughput: bool = True
    text_graph: bool = False
    license: str | None = None
    crossover: int | None = None
    compact: CompactDtype | None = None
    allow_flips: float | None = None
    c_name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        if isinstance(self.formats, str):
            object.__setattr__(self, "formats", (self.formats,))
        if not self.formats or any(name not in FORMATS for name in self.formats):
            raise InvalidInputError(
                f"formats are {', '.join(self.formats) or 'none'}; allowed: {', '.join(FORMATS)}"
            )
        check_opset(self.opset)
        check_name(self.c_name)
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise InvalidInputError(
                f"license is {self.license!r}; allowed: a hub's name for it, as apache-2.0, mit"
            )
        if self.text_graph and "onnx" not in self.formats:
            raise InvalidInputError(
                f"text_graph is asked for with {', '.join(self.formats)}; allowed: with onnx"
            )
        self._check_compact()
        if self.crossover is None:
            return
        if type(self.crossover) is not int or not 1 <= self.crossover <= CHUNK_ROWS:
            raise InvalidInputError(
                f"crossover is {self.crossover!r}; allowed: 1 to {CHUNK_ROWS} rows"
            )
        if not (self.throughput and "onnx" in self.formats):
            raise InvalidInputError(
                f"crossover is {self.crossover}; allowed only where the throughput form is made "
                "of onnx"
            )

    def _check_compact(self) -> None:
        if self.compact is not None and "onnx" not in self.formats:
            raise InvalidInputError(
                f"compact is asked for with {', '.join(self.formats)}; allowed: with onnx"
            )
        check_compact(self.compact, self.allow_flips)


DEFAULTS = ExportOptions()
