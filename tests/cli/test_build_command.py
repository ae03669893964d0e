"""`pe-deploy build`: what it makes and says, and what it leaves when it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import NativeClassifier
from pe_deploy.runtime.native import build
from tests.needs import need

need("cc")


def test_a_folder_that_takes_no_files_is_one_line(
    own_c: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    place = tmp_path / "full"
    place.write_text("a file where a folder should be")
    done = run("build", own_c, "-o", place / "build")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert str(place) in done.err


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no groups of processes")
def test_ctrl_c_while_compiling_leaves_nothing(own_c: Path, tmp_path: Path) -> None:
    temporary, told = tmp_path / "tmp", tmp_path / "told"
    temporary.mkdir()
    slow = tmp_path / "slow"
    slow.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo slow 1.0; exit;; *-dM*) exit;; esac\n'
        # Python itself cannot end what it is just about to start, so it gets a moment.
        f"sleep 600 & sleep 0.3; echo $! > {told}.new; mv {told}.new {told}; touch half; wait\n"
    )
    slow.chmod(0o755)
    before = sorted(path.name for path in tmp_path.iterdir())
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pe_deploy.__main__ import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "build", own_c, "-o", tmp_path / "new"],
        env={**os.environ, "CC": str(slow), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not told.exists():
        assert process.poll() is None
        time.sleep(0.01)
    sleeper = int(told.read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "pe-deploy: interrupted\n")
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "told"])
    for _ in range(500):  # until whoever adopted it has looked
        try:
            os.kill(sleeper, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{sleeper}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the compiler still runs")


def test_the_command_says_what_it_made_and_how_to_run_it(
    own_c: Path, run: Callable[..., Any]
) -> None:
    done = run("build", own_c)
    assert (done.code, done.err) == (0, "")
    told = done.out.replace("\n", "").replace("-mcpu", "-march")  # a long path takes several lines
    for said in (f"Built {own_c}.build", "model.so", "-march=native", "Run it: NativeClassifier("):
        assert said in told
    done = run("inspect", own_c)
    assert "model.c" in done.out
    done = run("build", own_c, "-o", own_c / "inside")
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_predict_answers_by_a_build(own_c: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    built = build(own_c)
    (tmp_path / "rows.jsonl").write_text('{"input_ids": [3, 1, 4]}\n{"input_ids": [1, 5, 9]}\n')
    done = run("predict", own_c, "rows.jsonl", "-o", "out.jsonl", "--build", built.where)
    assert (done.code, done.err) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = NativeClassifier(own_c, build=built.where).predict([[3, 1, 4], [1, 5, 9]])
    assert [row["label"] for row in rows] == expected.tolist()
    (tmp_path / "folder").mkdir()
    done = run("predict", own_c, "folder", "-o", "out", "--build", built.where)
    assert done.code == 2
    assert "--build is for one file" in done.err


def test_verify_without_a_compiler_judges_the_rest(
    own_c: Path,
    own_bundle: Path,
    reseal: Callable[..., bytes],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("model.c", "model.h"):
        shutil.copy(own_c / name, own_bundle)
    reseal(own_bundle)
    monkeypatch.setenv("CC", "no-such-compiler")
    done = run("verify", own_bundle, "--golden-only")
    assert (done.code, done.err) == (0, "")
    assert "Not run: c: CC is 'no-such-compiler', which is no compiler here" in done.out
    monkeypatch.undo()
    done = run("verify", own_bundle, "--golden-only")
    assert done.code == 1  # it is another model than that of the graphs
    assert "c against golden" in done.err


def test_verify_of_c_alone_needs_a_compiler(
    own_c: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("verify", own_c, "--golden-only")
    assert (done.code, done.err) == (0, "")
    monkeypatch.setenv("CC", "no-such-compiler")
    done = run("verify", own_c, "--golden-only")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("pe-deploy: CC is 'no-such-compiler', which is no compiler here")
