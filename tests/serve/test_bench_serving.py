from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.bench import serving as measure
from tests.conftest import Done
from tests.needs import need
from tests.serve.conftest import BUNDLES

need("serve", modules=("uvicorn", "typer"))


def test_servers_are_measured_in_turns(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("bench", BUNDLES / "padded", "--serving", "--seconds", "0.1", "--json", "all.json")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    found: dict[str, Any] = json.loads((tmp_path / "all.json").read_text())
    assert found["length"] == 12
    assert found["rounds"] >= 3
    measured = {(each["server"], each["clients"]): each for each in found["servers"]}
    for clients in (1, 64):
        ours = measured["pe_deploy", clients]
        assert 0 < ours["median_ms"] <= ours["p99_ms"]
        if "kserve" in found["left_out"]:
            assert ours["ratio"] is None
        else:
            assert measured["kserve", clients]["ratio"]["median"] == pytest.approx(1)
            assert ours["ratio"]["lower"] > 0
    assert f"{measured['pe_deploy', 64]['requests_per_second']:,.0f}" in done.out


def test_a_notebook_shows_it() -> None:
    result = measure(BUNDLES / "padded", clients=(2,), seconds=0.01)
    assert "2 × pe_deploy" in result._repr_html_()
    assert repr(result).startswith("<Serving ")
