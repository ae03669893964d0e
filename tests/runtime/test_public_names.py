"""Each public name that needs no torch has an example in its docstring, which runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pe_deploy
from pe_deploy import data, parity

NEED_TORCH = {"CheckpointError", "ExportError"}
NAMES = [
    *(
        getattr(pe_deploy, name)
        for name in pe_deploy.__all__
        if name not in NEED_TORCH | {"__version__"}
    ),
    *(parity.verify, parity.assert_parity, parity.Tolerance, parity.Report),
    *(data.load, data.open_rows, data.Dataset),
]


@pytest.mark.parametrize("public", NAMES, ids=lambda public: public.__name__)
def test_its_example_runs(public: object, examples_pass: Callable[[object], bool]) -> None:
    assert examples_pass(public)
