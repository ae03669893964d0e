from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import DataError
from pe_deploy.bench import cold_start, file_rate, rounds
from pe_deploy.bench.cold import installed_bytes
from pe_deploy.errors import PeDeployError
from tests.data.rows import write_rows


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_a_file_is_measured_against_its_rows_in_memory(
    tmp_path: Path, notebook_bundle: Path, suffix: str
) -> None:
    write_rows(tmp_path / f"in.{suffix}", input_ids=[[1, 2, 3]] * 5000)
    shares: list[float] = []
    rate = file_rate(
        notebook_bundle, tmp_path / f"in.{suffix}", threads=1, seconds=0.01, progress=shares.append
    )
    assert (rate.rows, rate.threads) == (5000, 1)
    assert rate.rounds >= 3
    assert rate.ratio.lower <= rate.ratio.median <= rate.ratio.upper
    assert rate.file_rows_per_second > 0
    assert rate.memory_rows_per_second > 0
    assert shares[-1] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == [f"in.{suffix}"]


def test_rows_of_differing_length_are_measured(tmp_path: Path, padded_bundle: Path) -> None:
    rows = [[1, 2, 3]] * 4096 + [[4, 5]] * 4096 + [[6], [7, 8]]  # each chunk is of one length
    write_rows(tmp_path / "in.csv", input_ids=rows)
    assert file_rate(padded_bundle, tmp_path / "in.csv", seconds=0.01).rows == len(rows)


def test_a_bad_file_is_named(tmp_path: Path, notebook_bundle: Path) -> None:
    write_rows(tmp_path / "in.csv", input_ids=[[1, 2, 3], [1, 99, 3]])
    with pytest.raises(DataError, match=r"in\.csv: row 2: column 1 has id 99"):
        file_rate(notebook_bundle, tmp_path / "in.csv", seconds=0.01)
    write_rows(tmp_path / "in.csv", input_ids=[])
    with pytest.raises(DataError, match="holds no rows"):
        file_rate(notebook_bundle, tmp_path / "in.csv", seconds=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_the_installed_size_counts_each_distribution_once() -> None:
    numpy = installed_bytes(("numpy",))
    assert 0 < numpy < installed_bytes(("onnxruntime", "numpy"))
    assert installed_bytes(("onnxruntime",)) == installed_bytes(("numpy", "onnxruntime", "NumPy"))
    assert installed_bytes(("no-such-distribution",)) == 0


def test_the_command_measures_a_file(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    write_rows(tmp_path / "in.csv", input_ids=[[1, 2, 3]] * 50)
    done = run(
        "bench", notebook_bundle, "--file", "in.csv", "--seconds", "0.01", "--json", "f.json"
    )
    assert (done.code, done.err) == (0, "")
    values = json.loads((tmp_path / "f.json").read_text())
    assert f"{values['ratio']['median']:.0%}" in done.out
    assert f"{values['file_rows_per_second']:,.0f} rows a second" in done.out


def test_the_command_compares_cold_starts(
    run: Callable[..., Any],
    tmp_path: Path,
    padded_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "FEWEST_ROUNDS", 1)
    done = run("bench", padded_bundle, "--cold", "--seconds", "0.01", "--json", "c.json")
    assert (done.code, done.err) == (0, "")
    values = json.loads((tmp_path / "c.json").read_text())
    ours, raw, torch = values["starts"]
    assert [ours["name"], raw["name"], torch["name"]] == ["pe_deploy", "raw", "torch"]
    assert raw["times_raw"] == {"median": 1, "lower": 1, "upper": 1}
    for start in values["starts"]:
        assert 0 < start["seconds"]["lower"] <= start["seconds"]["median"]
        assert start["resident_bytes"] > 10e6
        assert start["name"] in done.out
        assert f"{start['seconds']['median']:.3f}" in done.out
    if values["rounds"] == 1:
        ratio = ours["seconds"]["median"] / raw["seconds"]["median"]
        assert math.isclose(ours["times_raw"]["median"], ratio)
    # torch takes more room than onnxruntime, whatever the machine.
    assert torch["installed_bytes"] > raw["installed_bytes"] > 1e6


def test_a_process_that_fails_is_named(
    tmp_path: Path, notebook_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho 'ValueError: no' >&2\nexit 1\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(PeDeployError, match="the cold start of pe_deploy fails: ValueError: no"):
        cold_start(notebook_bundle, seconds=0.1)
