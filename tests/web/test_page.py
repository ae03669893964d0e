"""The page in Chromium, as visitors use it."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier
from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.runtime.predict_file import predict_file
from tests.web.digits import drawn

Made = Callable[..., Path]
Visit = Callable[..., Any]


@pytest.fixture
def languages(root: Path) -> Path:
    return root / "models/languages"


def percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


@pytest.mark.parametrize("finger", [False, True], ids=["mouse", "finger"])
def test_what_is_drawn_is_recognised(
    made: Made, visit: Visit, demo_bundle: Path, tmp_path: Path, finger: bool
) -> None:
    made(demo_bundle, tmp_path / "site")
    rng = np.random.default_rng(7)
    digits = [0, 1, 2, 3, 5, 6, 7, 9]
    how = {"hasTouch": True, "isMobile": True, "viewport": {"width": 390, "height": 844}}
    seen = visit(
        "draw",
        tmp_path,
        drawings=[drawn(digit, rng) for digit in digits],
        finger=finger,
        context=how if finger else {},
    )
    classifier = OnnxClassifier(demo_bundle)
    right = 0
    for digit, found in zip(digits, seen["found"], strict=True):
        labels, probabilities = classifier.predict_with_probability([found["pixels"]])
        assert found["said"].split() == [str(labels[0]), *percent(probabilities[0]).split()]
        each = classifier.predict_proba([found["pixels"]])[0]
        assert found["bars"] == [[str(label), percent(share)] for label, share in enumerate(each)]
        right += labels[0] == digit
    assert right >= len(digits) - 1
    assert seen["cleared"]["said"] == "–"


def test_the_pixels_are_changed_by_keys_alone(
    made: Made, visit: Visit, demo_bundle: Path, tmp_path: Path
) -> None:
    made(demo_bundle, tmp_path / "site")
    down = ["ArrowRight"] * 3 + [" ", "ArrowRight", " ", "ArrowLeft", "ArrowDown"]
    presses = [*down, *([" ", "ArrowRight", " ", "ArrowLeft", "ArrowDown"] * 7)]
    presses += ["Home", "5", "+", "ArrowRight", "9", "-", "-", "End", "7", "Delete", "ArrowUp"]
    wanted = [16 * (column in (3, 4)) for _ in range(8) for column in range(8)]
    wanted[56:58] = [6, 7]
    found = visit("keys", tmp_path, presses=presses)
    assert found["pixels"] == wanted
    assert found["said"].split()[0] == str(OnnxClassifier(demo_bundle).predict([wanted])[0])


def test_texts_are_answered_while_one_types(
    made: Made, visit: Visit, languages: Path, tmp_path: Path
) -> None:
    made(languages, tmp_path / "site", title="Sprachen & mehr")
    texts = ["vitesse de la lumière", "Lichtgeschwindigkeit", "x" * 49, "🙂", "", "ışık hızı"]
    cut = "The text is longer than the model takes; it was cut."
    found = visit("type", tmp_path, inputs=texts)
    assert found["title"] == "Sprachen & mehr"
    golden = open_bundle(languages)
    counts = f"{len(golden.golden())} golden vectors and {len(golden.golden_texts())} golden texts"
    assert f"{counts} replayed in this browser, largest difference" in found["proof"]
    classifier = OnnxClassifier(languages)
    for text, seen in zip(texts, found["found"], strict=True):
        assert seen["error"] == (cut if len(text) == 49 else "")
        if not text:
            assert seen["said"] == "–"
            continue
        labels, probabilities = classifier.predict_with_probability([text])
        assert seen["said"].split() == [labels[0], *percent(probabilities[0]).split()]
        each = classifier.predict_proba([text])[0]
        order = sorted(range(16), key=lambda at: (-each[at], at))
        assert [label for label, _ in seen["bars"]][:2] == [
            classifier.decision.labels[at] for at in order[:2]
        ]
        assert len(seen["bars"]) == 16


def test_of_what_is_typed_in_a_hurry_the_last_is_answered(
    made: Made, visit: Visit, languages: Path, tmp_path: Path
) -> None:
    made(languages, tmp_path / "site")
    text = "une phrase assez longue pour cela"
    seen = visit("hurry", tmp_path, text=text)
    labels, probabilities = OnnxClassifier(languages).predict_with_probability([text])
    assert seen["said"].split() == [labels[0], *percent(probabilities[0]).split()]


def test_nonsense_gets_a_line_and_the_next_row_its_answer(
    made: Made, visit: Visit, padded_bundle: Path, tmp_path: Path
) -> None:
    made(padded_bundle, tmp_path / "site")
    wrong = {
        "one two": "'one' is not an integer; allowed: integers only",
        "1 2 99": "column 2 has id 99; allowed: 0 to 19",
        "1 -1": "column 1 has id -1; allowed: 0 to 19",
        "0 1": "column 0 has pad_id 0 before the row's last token",
        "1 " * 13: "input_ids has 13 columns; allowed: 1 to 12",
        "9" * 40: "is outside int64",
        "<b>x</b>": "'<b>x</b>' is not an integer",
        "[]": "input_ids has 0 columns; allowed: 1 to 12",
        "x" * 100_000: "is not an integer",
        str(2**53 + 1): f"column 0 has id {2**53 + 1}; allowed: 0 to 19",
    }
    inputs = [each for text in wrong for each in (text, "[1, 2, 3]")]
    found = visit("type", tmp_path, inputs=inputs)["found"]
    labels, _ = OnnxClassifier(padded_bundle).predict_with_probability([[1, 2, 3]])
    for (text, line), seen in zip(wrong.items(), found[::2], strict=True):
        assert line in seen["error"], text[:40]
        assert "\n" not in seen["error"]
        assert seen["said"] == "–"
    for seen in found[1::2]:
        assert seen["error"] == ""
        assert seen["said"].split()[0] == labels[0]


def test_a_text_that_is_too_long_is_refused_where_nothing_else_was_asked_for(
    made: Made, visit: Visit, root: Path, tmp_path: Path
) -> None:
    made(root / "tests/bundles/bytes", tmp_path / "site")
    (seen,) = visit("type", tmp_path, inputs=["x" * 41])["found"]
    assert seen["error"].startswith("the text has 41 bytes; allowed: 1 to 40")
    assert seen["said"] == "–"


def test_a_tokenizer_json_is_read_by_its_library(
    made: Made, visit: Visit, root: Path, tmp_path: Path
) -> None:
    pieces = root / "tests/bundles/pieces"
    made(pieces, tmp_path / "site")
    (seen,) = visit("type", tmp_path, inputs=["the cat eats fish"])["found"]
    assert seen["said"].split()[0] == OnnxClassifier(pieces).predict(["the cat eats fish"])[0]


def compared(text: str, path: Path) -> None:
    """The table that came back is the one that `predict` writes, but for the last digits."""
    other = path.read_bytes().decode()
    assert text.startswith("\ufeff") == other.startswith("\ufeff")
    assert text.count("\r\n") == other.count("\r\n")
    header = other.removeprefix("\ufeff").splitlines()[0]
    delimiter = max(",;\t", key=header.count)
    here, there = (
        list(csv.reader(io.StringIO(each, newline=""), delimiter=delimiter))
        for each in (text, other)
    )
    assert len(here) == len(there)
    for found, wanted in zip(here, there, strict=True):
        assert len(found) == len(wanted)
        for cell, other_cell in zip(found, wanted, strict=True):
            if cell != other_cell:
                numbers = [list(map(float, each.split(";"))) for each in (cell, other_cell)]
                assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)


def test_a_file_comes_back_as_predict_writes_it(
    made: Made, visit: Visit, demo_bundle: Path, root: Path, tmp_path: Path
) -> None:
    made(demo_bundle, tmp_path / "site")
    source = root / "models/demo-held-out.csv"
    rows = list(csv.reader(io.StringIO(source.read_text())))[1:]
    odd = tmp_path / "odd.csv"
    with odd.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["note", "input_ids", "probability"])
        for number, (ids, label) in enumerate(rows[:40]):
            note = f'a "quoted"; note\n{number}' if number % 3 else ""
            writer.writerow([note, ids.replace(" ", ", "), label])
    tabs = tmp_path / "tabs.tsv"
    tabs.write_text("input_ids\tx\n" + "".join(f"{ids}\té\n\n" for ids, _ in rows[:20]))
    files = [source, odd, tabs]
    found = visit("drop", tmp_path, files=[{"name": p.name, "path": str(p)} for p in files])
    with OnnxClassifier(demo_bundle) as classifier:
        for path, seen in zip(files, found, strict=True):
            output = tmp_path / f"out{path.suffix}"
            done = predict_file(classifier, path, output)
            assert seen["said"] == f"{done.rows:,} rows."
            assert seen["name"] == f"{path.stem}-answers{path.suffix}"
            compared(seen["text"], output)


@pytest.mark.parametrize("name", ["notebook", "padded", "words"])
def test_bad_rows_are_named_or_answered_with_the_reason(
    made: Made, visit: Visit, root: Path, tmp_path: Path, name: str
) -> None:
    bundle = root / "tests/bundles" / name
    made(bundle, tmp_path / "site")
    rng = random.Random(name)
    good = (
        ["the cat eats fish", "a dog", "fish"] if name == "words" else ["1 2 3", "4,5,6", "[7 8 9]"]
    )
    bad = ["", "x", "1 2", "1 99 3", "1 -1 3", "1 " * 13, "0 1 2", "1.5 2 3", "9" * 50, "the " * 41]
    rows = [rng.choice(good) if rng.random() < 0.7 else rng.choice(bad) for _ in range(300)]
    path = tmp_path / "rows.csv"
    column = "text" if name == "words" else "input_ids"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[column, "error"], *([row, number] for number, row in enumerate(rows))])
    given = [{"name": path.name, "path": str(path)}]
    (strict,) = visit("drop", tmp_path, files=given)
    (tolerant,) = visit("drop", tmp_path, files=given, tolerant=True)
    with OnnxClassifier(bundle) as classifier:
        with pytest.raises(Exception, match=r"rows\.csv: row ") as caught:
            predict_file(classifier, path, tmp_path / "out.csv")
        assert strict == {"said": str(caught.value).replace(str(path), "rows.csv")}
        done = predict_file(classifier, path, tmp_path / "out.csv", on_error="null")
        assert tolerant["said"] == f"{done.rows:,} rows, {done.errors:,} without an answer."
        compared(tolerant["text"], tmp_path / "out.csv")


def test_a_file_that_is_no_table_is_refused_in_a_line(
    made: Made, visit: Visit, notebook_bundle: Path, tmp_path: Path
) -> None:
    made(notebook_bundle, tmp_path / "site")
    contents = {
        "empty.csv": (b"", "the file is empty; allowed: a header, then rows"),
        "blank.csv": (b"\n \n", "the file is empty; allowed: a header, then rows"),
        "other.csv": (b"a,b\n1,2\n", "no column 'input_ids'; its columns: a, b"),
        "text.csv": (b"text\nhi\n", "column text holds text, and this model takes ids"),
        "twice.csv": (b"input_ids,input_ids\n1,2\n", "2 columns are called 'input_ids'"),
        "utf16.csv": ("input_ids\n1 2\n".encode("utf-16"), "it is not UTF-8 text; save it as"),
        "photo.png": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "it is not UTF-8 text"),
        "open.csv": (b'input_ids\n1 2\n"3 4\n5', "row 2: unexpected end of data"),
        "ragged.csv": (b"input_ids,x\n1 2,3\n4 5\n", "row 2: 1 fields; the header has 2"),
        "quote.csv": (b'input_ids\n"1"2\n', "row 1: ',' expected after '\"'"),
        "head.csv": (b"input_ids\n", ""),
    }
    files = []
    for name, (data, _) in contents.items():
        (tmp_path / name).write_bytes(data)
        files.append({"name": name, "path": str(tmp_path / name)})
    found = visit("drop", tmp_path, files=files)
    for (name, (_, line)), seen in zip(contents.items(), found, strict=True):
        assert (f"{name}: {line}" if line else "0 rows.") in seen["said"], (name, seen)
    assert found[-1]["text"] == "input_ids,label,probability\n"


def test_a_file_that_was_mended_can_be_chosen_again(
    made: Made, visit: Visit, notebook_bundle: Path, tmp_path: Path
) -> None:
    made(notebook_bundle, tmp_path / "site")
    texts = ["input_ids\n1 x\n", "input_ids\n1 2\n"]
    first, second = visit("mended", tmp_path, path=str(tmp_path / "rows.csv"), texts=texts)
    assert first == [
        "",
        "rows.csv: row 1, column input_ids: 'x' is not an integer; allowed: integers only",
    ]
    assert second == ["", "1 rows."]


def test_where_nothing_may_be_kept_it_answers_all_the_same(
    made: Made, visit: Visit, notebook_bundle: Path, tmp_path: Path
) -> None:
    made(notebook_bundle, tmp_path / "site")
    assert visit("blocked", tmp_path) == {
        "state": False,
        "offline": "It cannot be kept for offline use: The operation is insecure.",
    }


def test_it_works_from_any_path_and_offline_after_the_first_visit(
    made: Made, visit: Visit, languages: Path, tmp_path: Path
) -> None:
    made(languages, tmp_path / "some/where é/site")
    seen = visit(
        "offline", tmp_path, path="/some/where%20%C3%A9/site/", input="vitesse de la lumière"
    )
    assert seen["said"].split()[0] == "French"
    assert "golden vectors" in seen["proof"]


def test_a_newer_site_is_offered_and_replaces_the_one_that_was_kept(
    made: Made, visit: Visit, notebook_bundle: Path, padded_bundle: Path, tmp_path: Path
) -> None:
    made(notebook_bundle, tmp_path / "site", title="First")
    made(padded_bundle, tmp_path / "next", title="Second")
    seen = visit("update", tmp_path, next=str(tmp_path))
    assert (seen["before"], seen["after"]) == ("First", "Second")
    assert len(seen["caches"]) == 1


RED = {"rgb(179, 38, 30)"}


def no_answers(seen: Any, line: str) -> None:
    assert "No answers: " in seen["state"]
    assert line in seen["state"]
    assert not seen["hasInput"]
    assert not seen["hasFile"]
    assert seen["color"] in RED


def test_a_file_that_was_changed_gives_no_answers(
    made: Made, visit: Visit, notebook_bundle: Path, tmp_path: Path
) -> None:
    site = made(notebook_bundle, tmp_path / "site")
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        path = site / "bundle" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        no_answers(visit("look", tmp_path), f"{name} was changed after it was published")
        path.write_bytes(whole)
    (site / "bundle/model.onnx").unlink()
    no_answers(visit("look", tmp_path, quiet=False), "lacks model.onnx")


def test_a_model_that_answers_otherwise_than_was_published_gives_no_answers(
    made: Made,
    visit: Visit,
    notebook_bundle: Path,
    tmp_path: Path,
    reseal: Callable[..., bytes],
) -> None:
    site = made(notebook_bundle, tmp_path / "site")
    own = Path(shutil.copytree(notebook_bundle, tmp_path / "own"))
    arrays = dict(np.load(own / "golden.npz"))
    for name in [name for name in arrays if "float" in name]:
        arrays[name] = arrays[name] + np.float32(0.01)
    np.savez(own / "golden.npz", **arrays)
    reseal(own)
    for changed in ("golden.npz", "manifest.json"):
        shutil.copy(own / changed, site / "bundle")
    seen = visit("look", tmp_path)
    no_answers(seen, "computes something else than was published: worst difference 0.01")
    assert "this model gives no answers" in seen["proof"]
    assert "differs" in seen["proof"]


def test_without_https_it_says_what_is_missing(
    made: Made, visit: Visit, notebook_bundle: Path, tmp_path: Path
) -> None:
    made(notebook_bundle, tmp_path / "site")
    no_answers(visit("look", tmp_path, host="site.test"), "open it by https: or from localhost")


def test_nothing_sticks_out_of_a_phone(
    made: Made, visit: Visit, languages: Path, tmp_path: Path
) -> None:
    made(languages, tmp_path / "site", title=f"A title with a word that {'never' * 20} ends")
    windows = [320, 390, 768, 1280]
    assert visit("widths", tmp_path, windows=windows) == windows


def test_the_site_says_what_it_holds(made: Made, notebook_bundle: Path, tmp_path: Path) -> None:
    record = json.loads((made(notebook_bundle, tmp_path / "site") / "site.json").read_text())
    assert record["format"] == "pe_deploy.site"
    assert record["onnxruntime_web"].count(".") == 2


@pytest.mark.parametrize(
    ("task", "labels"),
    [("tokens", "O B I"), ("multilabel", "ab bc cd da"), ("regression", "price area")],
)
def test_every_task_is_shown_and_written_as_it_is_in_python(
    made: Made, visit: Visit, tmp_path: Path, task: Any, labels: str
) -> None:
    pytest.importorskip("torch", reason="such a bundle is made with torch")
    from tests.web.tasks import exported

    names = labels.split()
    bundle = exported(tmp_path / "bundle", task, names)
    made(bundle, tmp_path / "site")
    rows = [[1, 2, 3], [29] * 12, [7], [5, 0, 4, 1]]
    path = tmp_path / "rows.csv"
    path.write_text("input_ids\n" + "".join(f"{' '.join(map(str, row))}\n" for row in rows[:1] * 3))
    (seen,) = visit("drop", tmp_path, files=[{"name": path.name, "path": str(path)}])
    shown = visit("type", tmp_path, inputs=[str(row) for row in rows])["found"]
    with OnnxClassifier(bundle) as classifier:
        predict_file(classifier, path, tmp_path / "out.csv")
        compared(seen["text"], tmp_path / "out.csv")
        for row, found in zip(rows, shown, strict=True):
            words = found["answer"].split()
            answer = classifier.predict([row])[0]
            if task == "tokens":
                assert words[:: len(words) // len(row)] == list(map(str, row))
                assert [word for word in words if word in names] == answer.tolist()
            elif task == "multilabel":
                assert found["said"] == (", ".join(answer) or "none")
                shares = classifier.predict_proba([row])[0]
                assert found["bars"] == [
                    [n, percent(s)] for n, s in zip(names, shares, strict=True)
                ]
            else:
                assert words[::2] == names
                assert [float(word) for word in words[1::2]] == pytest.approx(
                    answer.tolist(), rel=1e-3
                )


def test_the_commands_of_its_page_make_sites(
    run: Callable[..., Any], packages: Path, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").symlink_to(root / "models")
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    text = (root / "docs/web.md").read_text()
    commands = re.findall(r"^(?:- run: | *- run: )?pe-deploy (web .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert run(*shlex.split(command)).code == 0
        assert (tmp_path / "site/index.html").is_file()
    stated = re.findall(r"\| ([\d,]+) \|$", text, re.MULTILINE)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / "site" / name).iterdir())
        for name in ("onnxruntime", "bundle")
    ]
    assert [int(size.replace(",", "")) for size in stated[:2]] == pytest.approx(sizes, rel=0.02)
