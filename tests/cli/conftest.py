from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pe_deploy.__main__ import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `pe-deploy` with these arguments in an empty folder, as a shell would see it."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["pe-deploy", *map(str, arguments)])
        capsys.readouterr()
        code, message = 0, ""
        try:
            main()
        except SystemExit as stop:
            if isinstance(stop.code, str):  # the interpreter prints it and exits 1
                code, message = 1, stop.code + "\n"
            else:
                code = stop.code or 0
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err + message)

    return call
