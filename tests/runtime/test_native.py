"""A bundle's C, compiled for this machine: what runs is what was built, of this very bundle."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import (
    Bundle,
    BundleError,
    ExportError,
    InvalidInputError,
    MissingDependencyError,
    NativeClassifier,
    ParityError,
    PredictionError,
    open_bundle,
)
from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE, TORCHSCRIPT
from pe_deploy.parity import verify_bundle
from pe_deploy.parity.render import repeat_line
from pe_deploy.runtime import native_engine, native_library
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.runtime.native import build
from pe_deploy.runtime.native_build import LIBRARY, RECORD, compile_bundle, open_build
from pe_deploy.storage.digest import with_own_digest
from tests.conftest import MADE
from tests.needs import need
from tests.runtime.processes import run_python

need("cc")

NAMES = ("plain", "padded", "tokens", "words")

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed bundles that hold C, with a build beside each."""
    place = tmp_path_factory.mktemp("native")
    for name in NAMES:
        build(shutil.copytree(MADE / f"c_{name}", place / name))
    return place


@pytest.fixture
def own(own_c: Path, made: Path) -> Path:
    """A copy of a bundle with its build that a test may damage."""
    shutil.copytree(made / "plain.build", f"{own_c}.build")
    return own_c


def opened(bundle: Path, **how: Any) -> NativeClassifier:
    return NativeClassifier(bundle, build=f"{bundle}.build", **how)


def edit(folder: Path, change: Edit) -> None:
    """Change the record of a build, and make its digest fit."""
    record = folder / RECORD
    values = json.loads(record.read_bytes())
    change(values)
    record.write_bytes(with_own_digest(values))


def put_library(folder: Path, data: bytes) -> None:
    """Put another library into a build, and make the record fit."""
    import hashlib

    (folder / LIBRARY).write_bytes(data)
    found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda values: values["library"].update(found))


def rows_of(bundle: Path, count: int) -> NDArray[np.int64]:
    signature = open_bundle(bundle).manifest.signature
    return np.random.default_rng(1).integers(1, signature.vocab_size, (count, signature.max_length))


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_what_was_published(made: Path, name: str) -> None:
    with opened(made / name) as classifier:
        for case in open_bundle(made / name).golden():
            logits = classifier.predict_logits(case.input_ids)
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, case.float64, atol=1e-5)
            labels = classifier.predict(case.input_ids)
            if name == "tokens":
                labels = np.concatenate(labels)
                assert len(labels) == classifier.signature.is_token(case.input_ids).sum()
            elif case.labels is not None:  # no near-tie
                assert labels.tolist() == case.labels.tolist()
        assert classifier.predict_logits([]).size == 0
        assert str(made / name) in repr(classifier)
        assert LIBRARY in classifier._repr_html_()
    with pytest.raises(PredictionError, match="was closed"):
        classifier.predict([[1]])
    assert "closed" in repr(classifier)


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_rows_on_any_threads_gets_the_same_bits(made: Path, name: str) -> None:
    alone, shared = (opened(made / name, num_threads=count) for count in (1, 3))
    ids = rows_of(made / name, 9001)
    expected = np.concatenate([alone.predict_logits(ids[at : at + 7]) for at in range(0, 9001, 7)])
    for rows in (1, 15, 16, 17, 1024, 1025, 9001):
        for classifier in (alone, shared):
            np.testing.assert_array_equal(classifier.predict_logits(ids[:rows]), expected[:rows])
    with ThreadPoolExecutor(4) as pool:
        for logits in pool.map(shared.predict_logits, [ids] * 8):
            np.testing.assert_array_equal(logits, expected)


def test_texts_are_taken_and_golden_texts_replayed(made: Path) -> None:
    bundle = made / "words"
    classifier = opened(bundle)
    text = next(text for text, ids in open_bundle(bundle).golden_texts() if ids)
    assert classifier.takes_text
    assert pickle.loads(pickle.dumps(classifier)).predict([text]) == classifier.predict([text])
    path = bundle / "golden.texts.json"
    tampered = dict(open_bundle(bundle).files)
    first = json.loads(tampered[path.name])
    assert tampered[path.name] == path.read_bytes()
    changed = json.dumps(first).replace(json.dumps(text), json.dumps(text + text[:1])).encode()
    other = Bundle(bundle, open_bundle(bundle).manifest, {**tampered, path.name: changed})
    with pytest.raises(ParityError, match="the tokenizer"):
        NativeClassifier(other, build=f"{bundle}.build")


@pytest.mark.parametrize("name", ["plain", "padded"])
def test_what_the_model_cannot_take_is_told_in_the_words_of_every_engine(
    made: Path, name: str
) -> None:
    classifier = opened(made / name)
    last, longest = classifier.signature.vocab_size - 1, classifier.signature.max_length
    for ids, words in [
        (np.full((2, longest), last + 1), f"row 0: column 0 has id {last + 1}; allowed: 0 to"),
        (np.full((2, longest), -1), "row 0: column 0 has id -1"),
        (np.full((70, longest), 2**62), "row 0: column 0 has id"),
        (np.ones((2, longest + 1), np.int64), f"has {longest + 1} columns"),
        (np.ones((2, 0), np.int64), "has 0 columns"),
        (np.ones((longest,), np.int64), "input_ids"),
        (np.ones((2, longest)), "float64"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            classifier.predict_logits(ids)
    many = rows_of(made / name, 3000)
    many[2999, -1] = last + 1
    with pytest.raises(InvalidInputError, match=f"row 2999: column {longest - 1} has id"):
        classifier.predict_logits(many)
    backwards = rows_of(made / name, 5)[:, ::-1]
    np.testing.assert_array_equal(
        classifier.predict_logits(backwards), classifier.predict_logits(backwards.copy())
    )


def test_settings_outside_their_range_are_refused(made: Path) -> None:
    for how in ({"num_threads": 0}, {"threshold": 2.0}, {"truncation": "end"}):
        with pytest.raises(InvalidInputError, match=f"{next(iter(how))} is"):
            opened(made / "plain", **how)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_bit_of_the_library_is_refused_before_it_is_loaded(
    own: Path, part: float
) -> None:
    library = own.with_name("plain.build") / LIBRARY
    data = bytearray(library.read_bytes())
    data[int(part * len(data))] ^= 4
    library.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.so was changed after it was built"):
        opened(own)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (LIBRARY, lambda path: path.unlink(), r"incomplete: it lacks model\.so; run: pe-deploy"),
        (RECORD, lambda path: path.unlink(), r"incomplete: it lacks build\.json"),
        (LIBRARY, lambda path: path.write_bytes(b""), "was changed after it was built"),
        (RECORD, lambda path: path.write_bytes(b"{}"), "is not of the format"),
        (RECORD, lambda path: path.write_bytes(b"\xff"), "was changed, or never was one"),
        (
            RECORD,
            lambda path: path.write_bytes(path.read_bytes().replace(b'"bits": 64', b'"bits": 65')),
            r"build\.json was changed after it was made",
        ),
        (
            RECORD,
            lambda path: edit(path.parent, lambda values: values.update(flags=[1])),
            r"build\.json is malformed: flags",
        ),
        (
            RECORD,
            lambda path: edit(path.parent, lambda values: values.update(format_version=2)),
            "format_version 2; this pe_deploy reads 1",
        ),
        (
            LIBRARY,
            lambda path: (path.unlink(), path.mkdir()),
            r"model\.so is not a regular file",
        ),
    ],
)
def test_a_damaged_build_is_named(own: Path, name: str, change: Any, words: str) -> None:
    change(own.with_name("plain.build") / name)
    with pytest.raises(BundleError, match=words):
        opened(own)


def test_no_build_is_named(own: Path) -> None:
    with pytest.raises(BundleError, match="no folder; run: pe-deploy build BUNDLE -o"):
        NativeClassifier(own, build=own.with_name("none"))
    with pytest.raises(BundleError, match=r"is no build, or incomplete: it lacks build\.json"):
        NativeClassifier(own, build=own)


def test_a_build_of_another_bundle_is_refused(
    made: Path, tmp_path: Path, own_bundle: Path, reseal: Callable[..., bytes]
) -> None:
    with pytest.raises(BundleError, match=r"is of another bundle than .*: its weights_sha256 is"):
        NativeClassifier(made / "padded", build=made / "plain.build")
    again = shutil.copytree(made / "plain", tmp_path / "again")
    resealed(again, reseal, "/* ", "/*  ")  # the same weights in another file
    with pytest.raises(BundleError, match=r"was made of another model\.c than that of .*again"):
        NativeClassifier(again, build=made / "plain.build")
    for name in (C_SOURCE, C_HEADER):
        (own_bundle / name).unlink(missing_ok=True)
    reseal(own_bundle)
    with pytest.raises(BundleError, match=r"holds no model\.c; export it with --format c"):
        NativeClassifier(own_bundle, build=made / "plain.build")


def test_a_library_of_another_model_under_a_record_that_fits_is_found_out(
    own: Path, made: Path, tmp_path: Path, reseal: Callable[..., bytes]
) -> None:
    put_library(own.with_name("plain.build"), (made / "padded.build" / LIBRARY).read_bytes())
    with pytest.raises(BundleError, match="is of another model: its vocab_size is 20, not 12"):
        opened(own)
    other = shutil.copytree(own, tmp_path / "other")
    resealed(other, reseal, "+= weight", "-= weight")
    put_library(own.with_name("plain.build"), compile_bundle(open_bundle(other)).library)
    with pytest.raises(ParityError, match=r"model\.so computes something else than was published"):
        opened(own)


def test_a_library_that_exports_something_else_is_one_line(own: Path, tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    source.write_text("int model_predict(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{source}.so", source], check=True)
    put_library(own.with_name("plain.build"), Path(f"{source}.so").read_bytes())
    with pytest.raises(BundleError, match=r"is no build of a model: undefined.*pe_deploy_predict"):
        opened(own)
    put_library(own.with_name("plain.build"), b"no library at all")
    with pytest.raises(BundleError, match="this system does not load it: "):
        opened(own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": "riscv64"}, "is for Linux on riscv64, 64 bits; this is "),
        ({"system": "Plan 9"}, "is for Plan 9 on "),
        ({"bits": 128}, "128 bits; this is "),
        (
            {"features": ["avx512_of_2040"], "processor": "Z80"},
            "is for Z80; this processor lacks avx512_of_2040: run: pe-deploy build here",
        ),
    ],
)
def test_a_build_for_another_machine_is_not_loaded(
    own: Path, change: dict[str, Any], words: str
) -> None:
    if sys.platform == "linux":
        edit(own.with_name("plain.build"), lambda values: values.update(change))
        with pytest.raises(BundleError, match=words):
            opened(own)


def test_where_no_features_are_known_a_build_is_for_its_processor_alone(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pe_deploy.runtime.native_build.processor_features", frozenset)
    edit(own.with_name("plain.build"), lambda values: values.update(features=[]))
    opened(own)
    edit(own.with_name("plain.build"), lambda values: values.update(processor="Z80"))
    with pytest.raises(BundleError, match=r"is for Z80; this is .*: run: pe-deploy build here"):
        opened(own)


def resealed(own: Path, reseal: Callable[..., bytes], old: str, new: str) -> None:
    """Change the C of a bundle, and let the manifest vouch for it."""
    source = (own / C_SOURCE).read_text()
    assert old in source
    (own / C_SOURCE).write_text(source.replace(old, new))
    reseal(own)


def test_a_changed_source_is_not_compiled(own: Path) -> None:
    source = own / C_SOURCE
    source.write_bytes(source.read_bytes().replace(b"+= weight", b"-= weight"))
    with pytest.raises(BundleError, match=r"model\.c was changed after it was published"):
        build(own)
    opened(own)  # which does not read it: the build is of the one that was published


def test_what_computes_something_else_or_has_no_guards_is_not_published(
    own: Path, tmp_path: Path, reseal: Callable[..., bytes]
) -> None:
    resealed(own, reseal, "+= weight", "-= weight")
    with pytest.raises(ParityError, match="the build in memory computes something else"):
        build(own, tmp_path / "new")
    resealed(own, reseal, "-= weight", "+= weight")
    resealed(own, reseal, "length > 10", "length > 99")
    with pytest.raises(BundleError, match=r"answers batch 1 × length 11 .* it has no guards"):
        build(own, tmp_path / "new")
    resealed(own, reseal, "length > 99", "length >")
    with pytest.raises(ExportError, match=r"plain/model\.c: .* does not compile it: .*error"):
        build(own, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_header_names_the_functions(
    made: Path, own: Path, reseal: Callable[..., bytes]
) -> None:
    assert open_build(made / "tokens.build").name == "tagger"
    header = own / C_HEADER
    header.write_text(header.read_text().replace("_predict(", "_guess("))
    reseal(own)
    with pytest.raises(BundleError, match=r"model\.h declares 0 functions NAME_predict, not 1"):
        build(own)


def test_places_with_spaces_and_marks(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = own.rename(tmp_path / "ein Modell, größer 'als' \"je\"")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "für kurze Zeit"))
    (tmp_path / "für kurze Zeit").mkdir()
    place = tmp_path / "der Bau\nhier"
    assert build(bundle, place).where == str(place)
    monkeypatch.chdir(tmp_path)
    classifier = NativeClassifier(bundle, build="der Bau\nhier")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(classifier)).predict([[1, 2]]) == classifier.predict([[1, 2]])
    with pytest.raises(BundleError) as caught:
        NativeClassifier(bundle, build="der\nBau")
    assert "\n" not in str(caught.value)


def test_a_build_is_put_only_where_nothing_else_is_lost(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    link = tmp_path / "link"
    link.symlink_to(own)
    for place, words in [
        (own, "is in the bundle, or around it; allowed: a folder beside it"),
        (own / "build", "is in the bundle"),
        (link / "build", "is in the bundle"),
        (link, "is in the bundle"),
        (tmp_path, "or around it"),
        (other, "other is there and is no build; choose another place"),
        (other / "mine.txt", "mine.txt is there and is no build"),
        (Path(), "names no folder"),
    ]:
        with pytest.raises(ExportError, match=words):
            build(own, place)
    held = sorted(own.iterdir())
    before = (own.with_name("plain.build") / RECORD).read_bytes()
    build(own)  # over the one that is there
    assert json.loads(before)["weights_sha256"] == build(own).weights_sha256
    (own.with_name("plain.build") / "notes.txt").touch()
    with pytest.raises(ExportError, match=r"plain\.build holds notes\.txt, which is not of its"):
        build(own)
    assert sorted(own.iterdir()) == held


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_it_says_what_to_install(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingDependencyError, match=r"no C compiler is here .*install one \(as by"
    ):
        build(own)
    assert ENGINES["c"].missing.startswith("no C compiler is here")
    opened(own)  # what is built already needs none
    for named in ("no-such-compiler", "'unclosed", script(tmp_path / "fails", "exit 3")):
        monkeypatch.setenv("CC", named)
        with pytest.raises(MissingDependencyError, match="which is no compiler here; install one"):
            build(own)


def test_cc_may_have_arguments_and_may_not_know_this_processor(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = script(
        tmp_path / "old cc",
        'for each; do case "$each" in *=native) echo "no $each" >&2; exit 1;; esac; done\n'
        f'exec {shutil.which("cc")} "$@"',
    )
    monkeypatch.setenv("CC", f"'{old}' -O1")
    made = build(own)
    assert not [flag for flag in made.flags if "native" in flag]
    assert made.compiler.startswith(f"{old} -O1: ")
    opened(own)


def test_a_pickle_opens_its_build_again_and_checks_it(own: Path) -> None:
    classifier = opened(own)
    saved = pickle.dumps(classifier)
    ids = rows_of(own, 70)
    expected = classifier.predict_logits(ids)
    np.testing.assert_array_equal(pickle.loads(saved).predict_logits(ids), expected)
    edit(own.with_name("plain.build"), lambda values: values.update(weights_sha256="0" * 64))
    with pytest.raises(BundleError, match="is of another bundle"):
        pickle.loads(saved)
    shutil.rmtree(own.with_name("plain.build"))
    with pytest.raises(BundleError, match="no folder"):
        pickle.loads(saved)
    np.testing.assert_array_equal(classifier.predict_logits(ids), expected)


def test_no_other_engine_is_loaded(made: Path) -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None  # so that its import fails
from pe_deploy import NativeClassifier
NativeClassifier(sys.argv[1], build=sys.argv[1] + ".build").predict([[1, 2]])
"""
    run_python(code, made / "plain")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_goes_on_without_the_disk(own: Path) -> None:
    code = """
import os, shutil, sys
import numpy as np
from pe_deploy import NativeClassifier
bundle = sys.argv[1]
classifier = NativeClassifier(bundle, build=bundle + ".build", num_threads=2)
ids = np.resize(np.arange(12), (9000, 10))
expected = classifier.predict_logits(ids)
shutil.rmtree(bundle + ".build")
shutil.rmtree(bundle)
for _ in range(3):
    child = os.fork()
    if child == 0:
        assert (classifier.predict_logits(ids) == expected).all()
        if os.fork() == 0:
            assert (classifier.predict_logits(ids) == expected).all()
            sys.exit(0)
        os.wait()
        classifier.close()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (classifier.predict_logits(ids) == expected).all()
"""
    run_python(code, own)


def test_a_process_ends_well_while_its_threads_predict(made: Path) -> None:
    code = """
import sys, threading, time
import numpy as np
from pe_deploy import NativeClassifier
bundle = sys.argv[1]
classifier = NativeClassifier(bundle, build=bundle + ".build", num_threads=2)
ids = np.resize(np.arange(12), (9000, 10))

def predict():
    while True:
        classifier.predict_logits(ids)

for _ in range(3):
    threading.Thread(target=predict, daemon=True).start()
time.sleep(0.1)
"""
    for _ in range(3):
        run_python(code, made / "plain")


def mapped() -> int:
    """How many libraries of this test are in this process's memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("r-xp" in line and "pe_deploy" in line for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has loaded")
def test_a_library_is_loaded_from_checked_bytes_and_unloaded_when_closed(
    own: Path, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gc.collect()
    before = mapped()
    ids = rows_of(own, 5)
    for in_memory in (True, False):
        if not in_memory:

            def forbidden(*_: object) -> int:
                raise PermissionError(1, "Operation not permitted")

            monkeypatch.setattr(os, "memfd_create", forbidden)
            (tmp_path / "temporary").mkdir()
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        first, second = opened(own), opened(made / "padded")
        third = opened(own)  # by the path of the first, were it not another each time
        assert mapped() == before + 3
        expected = first.predict_logits(ids)
        np.testing.assert_array_equal(third.predict_logits(ids), expected)
        assert second.predict_logits(ids).shape == (5, 3)
        shutil.copy(made / "padded.build" / LIBRARY, own.with_name("plain.build") / LIBRARY)
        np.testing.assert_array_equal(first.predict_logits(ids), expected)
        shutil.copy(made / "plain.build" / LIBRARY, own.with_name("plain.build") / LIBRARY)
        for classifier in (first, second, third):
            classifier.close()
        del classifier, first, second, third
        gc.collect()
        assert mapped() == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_proof_compiles_it_and_says_what_it_is_off(
    own: Path, reseal: Callable[..., bytes]
) -> None:
    bundle = open_bundle(own)
    report = verify_bundle(bundle, checks=["golden", "batches", "decisions"])
    assert report.passed
    assert {cell.predictor for cell in report.cells} == {"c"}
    resealed(own, reseal, "+= weight", "-= weight")
    report = verify_bundle(open_bundle(own), checks=["golden"])
    assert report.failed_checks == ("golden",)
    line = repeat_line(report.failures[0], [[1, 2, 3]], str(own))
    line = line.replace("python", sys.executable, 1)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_a_proof_goes_on_without_a_compiler_and_says_so(
    own_bundle: Path, own: Path, reseal: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (C_SOURCE, C_HEADER):
        shutil.copy(own / name, own_bundle)
    (own_bundle / TORCHSCRIPT).unlink()
    reseal(own_bundle)
    monkeypatch.setenv("CC", "no-such-compiler")
    report = verify_bundle(open_bundle(own_bundle), checks=["golden"])
    assert report.passed
    assert {cell.predictor for cell in report.cells} == {"onnx", "throughput"}
    assert report.not_run["c"].startswith("CC is 'no-such-compiler'")


@pytest.mark.parametrize("name", ["plain", "tokens"])
def test_a_number_that_is_not_finite_is_no_answer(
    made: Path, tmp_path: Path, reseal: Callable[..., bytes], name: str
) -> None:
    bundle = shutil.copytree(made / name, tmp_path / "bundle")
    source = (bundle / C_SOURCE).read_text()
    (call, logits), *_ = re.findall(r"( answer\(ids .*, length, (logits .*)\);)", source)
    bad = """for (size_t at = row; at < row + some; at++) {
        const volatile float none = 0;
        const int64_t *its = ids + at * length;
        if (length > 4 && its[0] == 5 && its[1] == 5 && its[2] == 5 && its[3] == 5)
            *(LOGITS) = -1 / none;
    }"""
    resealed(bundle, reseal, call, call + bad.replace("LOGITS", logits.replace("row", "at")))
    build(bundle)
    for rows, threads in ((1, 1), (40, 1), (5000, 1), (5000, 2)):
        ids = np.resize(np.arange(1, 11), (rows, 10))
        ids[rows // 2 :] = 5
        classifier = opened(bundle, num_threads=threads)
        assert np.isfinite(classifier.predict_logits(ids[: rows // 2])).all()
        with pytest.raises(PredictionError, match=f"row {rows // 2}: the logit .*is -inf; an"):
            classifier.predict_logits(ids)


def test_where_the_layout_of_arrays_is_not_known_numpy_is_asked(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = rows_of(made / "padded", 5000)
    expected = opened(made / "padded").predict_logits(ids)
    monkeypatch.setattr(native_engine, "place_of", native_library._place_by_numpy)
    asked = opened(made / "padded", num_threads=2)
    np.testing.assert_array_equal(asked.predict_logits(ids), expected)
    np.testing.assert_array_equal(asked.predict_logits(ids[:3]), expected[:3])
