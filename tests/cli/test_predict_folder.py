"""`predict` on a folder: each file into its own, whole or not at all, and on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scale.tables import all_of, ended, files_of, started, table, write_folder

BYTES = Path(__file__).parent.parent / "bundles" / "bytes"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    write_folder(tmp_path / "in", rows=40)
    return tmp_path / "in"


def test_each_file_becomes_one_of_its_name_with_the_bits_of_predict(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path
) -> None:
    shutil.copy(given / "day=2026-01-01" / "part-0.parquet", given / "Top ü.PARQUET")
    (given / "_SUCCESS").touch()
    (given / ".part.crc").touch()
    (given / "_temporary").mkdir()
    (given / "_temporary" / "a.csv").write_text("half")
    (given / "rows.csv").write_text("name,input_ids\na,1 2 3\n")
    np.save(given / "ids.npy", np.array([[1, 2], [3, 4]]))
    done = run("predict", notebook_bundle, "in", "-o", "out", "--jobs", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("9 files, 283 rows in ")
    answers = files_of(tmp_path / "out")
    parts = [f"day=2026-01-0{n % 3 + 1}/part-{n}.parquet" for n in range(6)]
    assert set(answers) == {*parts, "Top ü.PARQUET", "rows.csv", "ids.npy.csv"}
    for name, data in answers.items():
        single = tmp_path / f"single{''.join(Path(name).suffixes[-1:])}"
        source = given / name.replace(".npy.csv", ".npy")
        assert run("predict", notebook_bundle, source, "-o", single, "--threads", "1").code == 0
        assert single.read_bytes() == data
    assert all_of(tmp_path / "out") == {*answers, ".pe-deploy.json"}


def test_processes_give_what_one_gives(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path
) -> None:
    assert run("predict", notebook_bundle, given, "-o", "one", "--jobs", "1").code == 0
    code, out, err = ended(started(f"predict {notebook_bundle} in -o two --jobs 2", tmp_path))
    assert (code, err) == (0, "")
    assert out.startswith("6 files, 240 rows in ")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_texts_are_a_table_behind_their_name(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a dog\na cat\n")
    assert run("predict", BYTES, "in", "-o", "out").code == 0
    assert (tmp_path / "out" / "a.txt.csv").read_text().startswith("text,label,probability\na dog,")


def test_a_damaged_file_is_one_line_and_the_others_are_done(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path
) -> None:
    (given / "bad.parquet").write_bytes(b"PAR1 and no more")
    (given / "rows.csv").write_text("input_ids\n1 2 3\n4 5 99\n")
    (given / "notes.md").write_text("# Notes")
    (given / "sheet.xlsx").write_bytes(b"PK")
    (given / "gone.csv").symlink_to("nowhere.csv")
    for _ in range(2):  # a second run tries those again, and nothing else
        done = run("predict", notebook_bundle, "in", "-o", "out", "--jobs", "1")
        assert done.code == 1
        lines = sorted(done.err.splitlines())
        assert lines[0].startswith("pe-deploy: in/bad.parquet: not a readable Parquet file: ")
        assert lines[1:4] == [
            "pe-deploy: in/gone.csv: a link that leads nowhere",
            "pe-deploy: in/notes.md: left out, as its suffix is none of data; allowed: .csv, .tsv, "
            ".jsonl, .json, .txt, .parquet, .npz, .npy, and .gz of text",
            "pe-deploy: in/rows.csv: row 2: column 2 has id 99; allowed: 0 to 11",
        ]
        assert lines[4].startswith("pe-deploy: in/sheet.xlsx: suffix '.xlsx'; save it as")
        assert len(lines) == 5
        assert len(files_of(tmp_path / "out")) == 6
    assert "0 files, 0 rows, 6 kept, 4 failed, 1 left out in " in done.out
    done = run("predict", notebook_bundle, "in", "-o", "null", "--jobs", "1", "--on-error", "null")
    assert "7 files, 242 rows, 1 without an answer, 3 failed, 1 left out" in done.out


def test_a_second_run_answers_what_is_missing_or_newer(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path
) -> None:
    command = ("predict", notebook_bundle, "in", "-o", "out", "--jobs", "1")
    assert run(*command).code == 0
    before = files_of(tmp_path / "out")
    (missing := tmp_path / "out" / "day=2026-01-01" / "part-0.parquet").unlink()
    newer = given / "day=2026-01-02" / "part-1.parquet"
    pq.write_table(table(41, 9), newer)
    later = time.time() + 5
    os.utime(newer, (later, later))
    done = run(*command)
    assert done.out.startswith("2 files, 81 rows, 4 kept in ")
    after = files_of(tmp_path / "out")
    assert after["day=2026-01-01/part-0.parquet"] == before["day=2026-01-01/part-0.parquet"]
    assert missing.exists()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"day=2026-01-02/part-1.parquet"}


def test_answers_of_two_models_are_never_mixed(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path, padded_bundle: Path
) -> None:
    command = ("predict", notebook_bundle, "in", "-o", "out", "--jobs", "1")
    assert run(*command).code == 0
    before = files_of(tmp_path / "out")
    for other, reason in [
        (("predict", padded_bundle, *command[2:]), "another bundle"),
        ((*command, "--threshold", "0.9"), "threshold 0.5, where this run has 0.9"),
        ((*command, "--on-error", "null"), "on_error fail, where this run has null"),
    ]:
        done = run(*other)
        assert (done.code, done.err) == (
            1,
            f"pe-deploy: out holds answers with {reason}; give another folder, or --overwrite\n",
        )
        assert files_of(tmp_path / "out") == before
    done = run("predict", padded_bundle, *command[2:], "--overwrite")
    assert (done.code, "6 files, 240 rows in" in done.out) == (0, True)
    assert run(*command).code == 1
    (given / "day=2026-01-01" / "part-0.parquet").unlink()
    done = run(*command, "--overwrite")
    assert "out/day=2026-01-01/part-0.parquet is an answer of another run" in done.err
    (tmp_path / "out" / ".pe-deploy.json").unlink()
    assert "nothing says what made it; give another folder" in run(*command).err
    (tmp_path / "out" / ".pe-deploy.json").write_text("{")
    assert "answers with a damaged .pe-deploy.json" in run(*command).err


def test_places_that_cannot_be(
    run: Callable[..., Any], tmp_path: Path, given: Path, notebook_bundle: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "link").symlink_to("in/day=2026-01-01")
    two = tmp_path / "two"
    two.mkdir()
    (two / "a.txt").write_text("a\n")
    (two / "a.txt.csv").write_text("text\na\n")
    circle = tmp_path / "circle"
    circle.mkdir()
    (circle / "round").symlink_to("..", target_is_directory=True)
    for source, output, message in [
        ("in", "in", "in and in lie in each other; allowed: folders apart"),
        ("in", "in/out", "in and in/out lie in each other; allowed: folders apart"),
        ("in", "link", "in and link lie in each other; allowed: folders apart"),
        ("in", ".", "in and . lie in each other; allowed: folders apart"),
        ("in", "file", "file is a file; allowed: a folder, as in is one"),
        ("none", "out", "none holds no file of rows; allowed: .csv, .tsv, .jsonl, .json, .txt,"),
        ("two", "out", "two/a.txt and two/a.txt.csv would both become a.txt.csv; rename one"),
        ("circle", "/tmp/pe-deploy-out", "leads back to a folder that it is in; remove that link"),
        ("in", "-", "--output is none; allowed with a folder: another folder, or a URI"),
    ]:
        done = run("predict", notebook_bundle, source, "-o", output, "--jobs", "1")
        assert (done.code, message in done.err, done.err.count("\n")) == (1, True, 1), done
    assert not (tmp_path / "out").exists()
    for options in [("--jobs", "2"), ("--engine", "local"), ("--overwrite",)]:
        done = run("predict", notebook_bundle, "file", "-o", "out.csv", *options)
        assert (done.code, "are for a folder" in done.err) == (2, True)
    assert run("predict", notebook_bundle, "in", "-o", "o", "--input-format", "csv").code == 2
    done = run("predict", notebook_bundle, "in", "-o", "o", "--jobs", "0")
    assert (done.code, done.err) == (1, "pe-deploy: jobs is 0; allowed: 1 or more\n")


def _slow(folder: Path) -> None:
    """Files that take a while."""
    folder.mkdir()
    for number in range(3):
        big = pa.concat_tables([table(20_000, number)] * 4)
        pq.write_table(big, folder / f"{number}.parquet")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_started_again(
    tmp_path: Path, notebook_bundle: Path, jobs: int, how: signal.Signals
) -> None:
    _slow(tmp_path / "in")
    command = f"predict {notebook_bundle} in -o out --jobs {jobs}"
    process = started(command, tmp_path)
    until = time.monotonic() + 60
    while not any(".parquet" in name for name in all_of(tmp_path / "out")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(process.pid, how)  # to it alone: it has to end its children
    code, out, err = ended(process)
    if how == signal.SIGINT:
        assert (code, out, err) == (130, "", "pe-deploy: interrupted\n")
        left = all_of(tmp_path / "out")
        assert {name for name in left if name.startswith(".")} == {".pe-deploy.json"}
    for path in (tmp_path / "out").glob("[0-9]*"):  # whatever is there is whole
        assert pq.read_metadata(path).num_rows == 80_000
    code, out, err = ended(started(command, tmp_path))
    assert (code, err) == (0, "")
    assert all_of(tmp_path / "out") == {".pe-deploy.json", *(f"{n}.parquet" for n in range(3))}
    record = json.loads((tmp_path / "out" / ".pe-deploy.json").read_text())
    assert record["threshold"] == 0.5


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked for in /proc")
def test_a_process_that_dies_costs_its_file_and_no_other(
    tmp_path: Path, notebook_bundle: Path
) -> None:
    _slow(tmp_path / "in")
    process = started(f"predict {notebook_bundle} in -o out --jobs 2", tmp_path)
    until = time.monotonic() + 60
    while not any(name.endswith(".parquet") for name in all_of(tmp_path / "out")):
        assert time.monotonic() < until
        time.sleep(0.01)
    workers = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"spawn_main" in _read(path) and f"\nPPid:\t{process.pid}\n" in _status(path)
    ]
    os.kill(workers[0], signal.SIGKILL)
    code, out, err = ended(process)
    assert code == 1, (out, err)
    assert err.endswith(".parquet: its process ended with exit code -9\n")
    assert len(files_of(tmp_path / "out")) == 2
    assert "2 files, 160,000 rows, 1 failed in" in out


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _status(path: Path) -> str:
    return _read(path.parent / "status").decode()
