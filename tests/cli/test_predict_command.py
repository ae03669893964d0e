from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pe_deploy import OnnxClassifier
from tests.data.rows import write_rows

ROWS = [[3, 1, 4], [1, 5, 9], [2, 6, 5], [3, 5, 8], [9, 7, 9]]
NAMES = ["007", "b, with comma", "", "NA", "ü"]


def write(path: Path) -> None:
    write_rows(path, name=NAMES, input_ids=ROWS)


def read(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    elif path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_every_format_keeps_its_rows_and_gets_the_answers(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path, suffix: str
) -> None:
    write(tmp_path / f"in.{suffix}")
    done = run("predict", notebook_bundle, f"in.{suffix}", "-o", f"out.{suffix}")
    assert (done.code, done.err) == (0, "")
    assert "5 rows" in done.out
    answers = read(tmp_path / f"out.{suffix}")
    assert answers["name"] == NAMES
    classifier = OnnxClassifier(notebook_bundle)
    labels, probabilities = classifier.predict_with_probability(ROWS)
    assert [int(label) for label in answers["label"]] == labels.tolist()
    np.testing.assert_allclose([float(p) for p in answers["probability"]], probabilities)


def test_a_label_that_is_there_is_kept(
    run: Callable[..., Any], tmp_path: Path, padded_bundle: Path
) -> None:
    (tmp_path / "in.csv").write_text("label,input_ids\nhigh,5 6\nlow,7\n")
    assert run("predict", padded_bundle, "in.csv", "-o", "out.csv").code == 0
    answers = read(tmp_path / "out.csv")
    assert answers["label"] == ["high", "low"]
    assert set(answers["predicted_label"]) <= {"low", "middle", "high"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1 2 3\n4 -1 6\n", "in.csv: row 2: column 1 has id -1; allowed: 0 to 11"),
        ("1 2 3\n4 12 6\n", "in.csv: row 2: column 1 has id 12; allowed: 0 to 11"),
        (
            "1 2\n3 4\n5 6 7\n",
            "in.csv: row 3: has 3 ids where the first row has 2; "
            "rows of differing length need a model with a pad_id",
        ),
        (" ".join("1" * 11) + "\n", "in.csv: row 1: has 11 ids; allowed: 1 to 10"),
        ('1 2\n""\n', "in.csv: row 2: has 0 ids; allowed: 1 to 10"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path, rows: str, message: str
) -> None:
    (tmp_path / "in.csv").write_text("input_ids\n" + rows)
    (tmp_path / "out.csv").write_text("older answers")
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.csv")
    assert (done.code, done.err) == (1, f"pe-deploy: {message}\n")
    assert (tmp_path / "out.csv").read_text() == "older answers"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_late_row_is_named_by_its_place_in_the_file(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    rows = ["1 2 3"] * 9000
    rows[8765] = "1 2 77"
    (tmp_path / "in.csv").write_text("input_ids\n" + "\n".join(rows) + "\n")
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.csv")
    assert done.err == "pe-deploy: in.csv: row 8766: column 2 has id 77; allowed: 0 to 11\n"
    rows[8765] = "1 2"
    (tmp_path / "in.csv").write_text("input_ids\n" + "\n".join(rows) + "\n")
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.csv")
    assert "row 8766: has 2 ids where the first row has 3" in done.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "in.csv",
            "text,label\na,1\n",
            "in.csv: column text holds text, and this model takes ids: ",
        ),
        ("in.csv", "ids,label\na,1\n", "no column 'input_ids'; its columns: ids, label; state"),
        ("in.csv", "input_ids\n1 2.5 3\n", "row 1, column input_ids: '2.5' is not an integer"),
        ("in.jsonl", '{"input_ids": [1, 2.5]}\n', "row 1, column input_ids: 2.5 is not an int"),
        ("in.txt", "1 2 3\n", "in.txt: column text holds text, and this model takes ids: "),
        ("in.dat", "1 2 3\n", "allowed: .csv, .tsv, .jsonl, .json, .txt, .parquet, .npz, .npy"),
        ("in.parquet", "not parquet", "not a readable Parquet file"),
    ],
)
def test_malformed_files_are_one_line(
    run: Callable[..., Any],
    tmp_path: Path,
    notebook_bundle: Path,
    name: str,
    content: str,
    message: str,
) -> None:
    (tmp_path / name).write_text(content)
    suffix = name.split(".")[1].replace("txt", "csv")
    done = run("predict", notebook_bundle, name, "-o", f"out.{suffix}")
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_a_missing_input_and_another_suffix(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    done = run("predict", notebook_bundle, "nowhere.csv", "-o", "out.csv")
    assert done.code == 1
    assert "nowhere.csv" in done.err
    write(tmp_path / "in.csv")
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.parquet")
    assert done.code == 1
    assert "suffix" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


def test_a_threshold_decides_in_place_of_the_bundles(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path, padded_bundle: Path
) -> None:
    write(tmp_path / "in.csv")
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.csv", "--threshold", "1.0")
    assert done.code == 0
    assert set(read(tmp_path / "out.csv")["label"]) == {"0"}
    done = run("predict", notebook_bundle, "in.csv", "-o", "out.csv", "--threshold", "1.5")
    assert (done.code, done.err) == (1, "pe-deploy: threshold is 1.5; allowed: 0.0 to 1.0\n")
    done = run("predict", padded_bundle, "in.csv", "-o", "out.csv", "--threshold", "0.5")
    assert (done.code, done.err) == (1, "pe-deploy: threshold is 0.5; allowed: none with classes\n")


def shell(folder: Path, command: str, **given: Any) -> subprocess.CompletedProcess[bytes]:
    """What a shell gives for a command in which PE stands for pe-deploy."""
    command = command.replace("PE", f"'{sys.executable}' -m pe_deploy")
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, timeout=120, **given
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_standard_input_and_output_and_pipes(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path, suffix: str
) -> None:
    write(tmp_path / f"in.{suffix}")
    assert run("predict", notebook_bundle, f"in.{suffix}", "-o", f"out.{suffix}").code == 0
    expected = read(tmp_path / f"out.{suffix}")
    for place, command in enumerate(
        [
            "PE predict {bundle} - --input-format {suffix} -o - < in.{suffix} > {to}",
            "cat in.{suffix} | PE predict {bundle} /dev/stdin --input-format {suffix} "
            "-o /dev/stdout | cat > {to}",
            "PE predict {bundle} <(cat in.{suffix}) --input-format {suffix} -o >(cat > {to}) "
            ">&2; wait $!",
        ]
    ):
        to = f"{place}.{suffix}"
        done = shell(tmp_path, command.format(bundle=notebook_bundle, suffix=suffix, to=to))
        assert (done.returncode, done.stdout) == (0, b"")
        assert b"5 rows" in done.stderr
        assert read(tmp_path / to) == expected


def test_what_standard_input_lacks_is_one_line(
    run: Callable[..., Any],
    tmp_path: Path,
    notebook_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for arguments, given, message in [
        ([], b"", "-: its suffix does not say what it is; give --input-format"),
        (
            ["--input-format", "csv"],
            b"input_ids\n1 2\n3 99\n",
            "-: row 2: column 1 has id 99; allowed: 0 to 11",
        ),
        (
            ["--input-format", "csv"],
            b"ids\n",
            "-: no column 'input_ids'; its columns: ids; state the one that holds ids, or text",
        ),
    ]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        done = run("predict", notebook_bundle, "-", "-o", "-", *arguments)
        assert (done.code, done.out, done.err) == (1, "", f"pe-deploy: {message}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
def test_a_closed_pipe_is_no_failure_and_hides_none(tmp_path: Path, notebook_bundle: Path) -> None:
    write(tmp_path / "in.csv")
    damaged = Path(shutil.copytree(notebook_bundle, tmp_path / "damaged"))
    (damaged / "model.onnx").unlink()
    for command, code in [
        (f"PE inspect {notebook_bundle} | head -1", 0),
        (f"PE inspect {notebook_bundle} | true", 0),
        (f"PE verify --golden-only {notebook_bundle} | true", 0),
        (f"PE verify --golden-only {damaged} | true", 1),
        (f"PE predict {notebook_bundle} in.csv -o - | true", 0),
        ("PE --help | true", 0),
    ]:
        done = shell(tmp_path, f"set -o pipefail; {command}")
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_is_one_line_and_130(tmp_path: Path, notebook_bundle: Path, threads: int) -> None:
    """One process imports everything, and forks a command for each moment of interruption."""
    rows = "\n".join(["1 2 3 4 5 6 7 8 9 10"] * 20_000)
    (tmp_path / "in.csv").write_text(f"input_ids\n{rows}\n")
    (tmp_path / "out.csv").write_text("older answers")
    code = f"""
import os, signal, sys, time
import pe_deploy.cli.predict
from pe_deploy.__main__ import main
sys.argv[1:] = ["predict", {str(notebook_bundle)!r}, "in.csv", "-o", "out.csv"]
sys.argv += ["--threads", "{threads}"]
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a shell's background job
try:  # a first command, whose file is not there, imports what is imported late
    sys.argv[3] = "none.csv"
    main()
except SystemExit:
    sys.argv[3] = "in.csv"
for moment in range(20):
    child = os.fork()
    if child == 0:
        main()
        sys.exit()
    time.sleep(0.02 + moment * 0.003)
    os.kill(child, signal.SIGINT)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["130"] * 20, done.stderr
    assert done.stderr == "pe-deploy: interrupted\n" * 20
    assert (tmp_path / "out.csv").read_text() == "older answers"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


BYTES = Path(__file__).parent.parent / "bundles" / "bytes"
TEXTS = ["The cat eats fish", "a dog paints the café today"]


def test_texts_are_answered_by_a_line_each(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("predict", BYTES, "--text", TEXTS[0], "--text", TEXTS[1])
    assert (done.code, done.err) == (0, "")
    lines = [line.split("\t") for line in done.out.splitlines()]
    classifier = OnnxClassifier(BYTES)
    labels, probabilities = classifier.predict_with_probability(TEXTS)
    assert [line[0] for line in lines] == labels.tolist()
    assert [line[1] for line in lines] == [f"{number:.4f}" for number in probabilities]
    assert [line[2] for line in lines] == TEXTS
    done = run("predict", BYTES, "--text", "x" * 41, "--text", "two\nlines")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("pe-deploy: --text: row 1: the text has 41 bytes; allowed: 1 to 40")
    done = run("predict", BYTES, "--text", "x" * 41, "--text", "a\n\tb", "--on-error", "null")
    first, second = done.out.splitlines()
    assert first.startswith("-\t-\tthe text has 41 bytes; allowed: 1 to 40")
    assert second.endswith("\t" + r"a\n\tb")


def test_texts_are_written_where_that_is_asked(run: Callable[..., Any], tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        output = f"out.{suffix}"
        done = run("predict", BYTES, "--text", TEXTS[0], "--text", "a,\n", "-o", output)
        assert (done.code, "2 rows in" in done.out) == (0, True)
        assert read(tmp_path / output)["text"] == [TEXTS[0], "a,\n"]
    done = run("predict", BYTES, "--text", "a", "-o", "out.parquet")
    assert "'.parquet'; allowed: '.csv', '.tsv', '.jsonl'" in done.err


def test_standard_input_is_a_text_a_line(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notebook_bundle: Path
) -> None:
    given = ("\n".join(TEXTS) + "\n").encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    printed = run("predict", BYTES, "-").out
    assert printed == run("predict", BYTES, "--text", TEXTS[0], "--text", TEXTS[1]).out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert run("predict", BYTES, "-", "-o", "out.tsv").code == 0
    lines = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["text", *TEXTS]
    done = run("predict", notebook_bundle, "--text", "a")
    assert (done.code, done.err) == (
        1,
        "pe-deploy: --text: column text holds text, and this model takes ids: "
        "it has no tokenizer\n",
    )


def test_a_column_of_texts(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"n;body\n1;{TEXTS[0]}\n2;{'x' * 41}\n3;\n")
    options = ("-o", "out.csv", "--text-column", "body")
    done = run("predict", BYTES, "in.csv", *options)
    assert done.err.startswith("pe-deploy: in.csv: row 2: the text has 41 bytes; allowed: 1 to 40")
    assert not (tmp_path / "out.csv").exists()
    done = run("predict", BYTES, "in.csv", *options, "--on-error", "null")
    assert (done.code, "3 rows, 2 without an answer in" in done.out) == (0, True)
    done = run("predict", BYTES, "in.csv", *options, "--on-error", "null", "--truncate", "start")
    assert "3 rows, 1 without an answer, 1 text cut in" in done.out
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    expected = OnnxClassifier(BYTES, truncation="start").predict([TEXTS[0], "x" * 41]).tolist()
    assert [row["label"] for row in rows] == [*expected, ""]
    assert [row["error"] for row in rows] == ["", "", "the text has 0 bytes; allowed: 1 to 40"]
    done = run("predict", BYTES, "in.csv", "-o", "out.csv")
    assert "no column 'input_ids'; its columns: n, body; state the one that" in done.err


def test_a_column_of_ids_and_a_delimiter(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    (tmp_path / "in.csv").write_text("n|tokens\n1|[1, 2, 3]\n")
    options = ("--ids-column", "tokens", "--delimiter", "|")
    assert run("predict", notebook_bundle, "in.csv", "-o", "out.csv", *options).code == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "n|tokens|label|probability"
    assert lines[1].startswith("1|[1, 2, 3]|")


def test_what_is_to_be_predicted_is_stated_once(
    run: Callable[..., Any], tmp_path: Path, notebook_bundle: Path
) -> None:
    write(tmp_path / "in.csv")
    for arguments in ([], ["in.csv", "--text", "a"]):
        done = run("predict", notebook_bundle, *arguments)
        assert (done.code, "give either INPUT or --text" in done.err) == (2, True)
    done = run("predict", notebook_bundle, "in.csv")
    assert (done.code, done.err) == (
        1,
        "pe-deploy: no --output is given; allowed without: --text, or lines of text\n",
    )
