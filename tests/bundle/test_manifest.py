"""A manifest vouches for itself, and is read strictly even where somebody made its digest fit."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import BundleError, Manifest, Signature, open_bundle
from pe_deploy.bundle.manifest import Compact

Reseal = Callable[..., bytes]
SHA = "a" * 64
CHANGED = r"manifest\.json was changed after it was published"


def test_a_manifest_reads_back(own_bundle: Path, reseal: Reseal) -> None:
    """the digest as the documentation says it, set by another program."""
    before = (own_bundle / "manifest.json").read_bytes()
    assert reseal(own_bundle) == before
    assert open_bundle(own_bundle).manifest_json == before
    assert re.search(rb'"manifest_sha256": "[0-9a-f]{64}"\n}\n$', before)


@pytest.mark.parametrize(
    "text",
    [
        '{"' + '\\"' * 500_000,
        '{"' + '\\"' * 500_000 + "\\",
        "{" + ",".join(f'"{key}":1' for key in range(90_000)) + ',"89999":1}',
        "[" * 1_000_000,
    ],
    ids=["open text", "open escape", "a key twice, late", "brackets"],
)
def test_a_mebibyte_that_is_no_manifest_is_refused_at_once(text: str) -> None:
    """Each would take minutes or hours, were the time not in proportion to the size."""
    with pytest.raises(BundleError, match="it is not JSON"):
        Manifest.from_json(text.encode())


def edits(data: bytes) -> dict[str, bytes]:
    values = json.loads(data)
    return {
        "another threshold": data.replace(b'"threshold": 0.5', b'"threshold": 0.4'),
        "a label": data.replace(b'"labels": [\n    0,\n    1', b'"labels": [\n    1,\n    0'),
        "formatted again": json.dumps(values).encode(),
        "windows lines": data.replace(b"\n", b"\r\n"),
        "a space at the end": data + b" ",
        "no last newline": data[:-1],
        "keys in another order": json.dumps(dict(sorted(values.items())), indent=2).encode(),
        "no seal": json.dumps({**values, "manifest_sha256": None}, indent=2).encode() + b"\n",
        "the seal of nothing": data[:-68] + b"0" * 64 + data[-4:],
        "upper case": data[:-68] + data[-68:-4].upper() + data[-4:],
        "an old form": data.replace(b',\n  "manifest_sha256"', b'}\n,"manifest_sha256"'),
        "cut": data[: len(data) // 2],
        "byte order mark": b"\xef\xbb\xbf" + data,
    }


@pytest.mark.parametrize("name", edits(b"{}"))
def test_any_edit_shows(notebook_bundle: Path, name: str) -> None:
    data = (notebook_bundle / "manifest.json").read_bytes()
    edited = edits(data)[name]
    assert edited != data
    with pytest.raises(BundleError, match=CHANGED) as caught:
        Manifest.from_json(edited)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_newer_format_asks_for_a_newer_reader(
    own_bundle: Path, reseal: Reseal, sealed: bool
) -> None:
    data = reseal(own_bundle, format_version=5, seals=["otherwise"])
    manifest = own_bundle / "manifest.json"
    manifest.write_bytes(data if sealed else json.dumps(json.loads(data)).encode())
    with pytest.raises(BundleError, match=r"format_version 5; this pe_deploy reads 4.*newer one"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "not of the format pe_deploy.bundle"),
        ({"format_version": True}, "format_version is True"),
        ({"format_version": 0}, "format_version is 0"),
        ({"format_version": "1"}, "format_version is '1'"),
        ({"labels": [0, 0]}, "2 distinct labels"),
        ({"labels": [0, "one"]}, "all int or all str"),
        ({"labels": None}, "malformed: labels is None"),
        ({"labels": "ab"}, "malformed: labels is 'ab'"),
        ({"labels": [[0], [1]]}, "malformed: labels"),
        ({"labels": ["x" * 5000, 3]}, "malformed: labels"),
        ({"parity": 3}, "malformed: parity"),
        ({"parity": {"floor": "low"}}, "malformed: parity"),
        ({"parity": {"floor": -1.0}}, "malformed: parity"),
        ({"parity": {"floor": True}}, "malformed: parity"),
        ({"parity": {"passed": 1}}, "malformed: parity"),
        ({"parity": {"cells": 1.5}}, "malformed: parity"),
        ({"versions": [1]}, "malformed: versions"),
        ({"versions": {"torch": None}}, "malformed: versions"),
        ({"versions": {"opset": True}}, "malformed: versions"),
        ({"operators": {"Add": "two"}}, "malformed: operators"),
        ({"operators": {"Add": -1}}, "malformed: operators"),
        ({"model": 3}, "malformed: model"),
        ({"origin": 3}, "malformed: origin"),
        ({"origin": {"name": 3}}, "malformed: origin"),
        ({"origin": {"computed_inputs": "mask"}}, "malformed: origin"),
        ({"origin": {"computed_inputs": [None]}}, "malformed: origin"),
        ({"weights_sha256": None}, "malformed: weights_sha256"),
        ({"weights_sha256": SHA.upper()}, "malformed: weights_sha256"),
        ({"weights_sha256": SHA + "\n"}, "malformed: weights_sha256"),
        ({"threshold": 1.5}, "threshold is 1.5; allowed: 0.0 to 1.0"),
        ({"threshold": None}, "threshold is None"),
        ({"threshold": 1}, "threshold is 1; allowed"),
        ({"signature": {}}, "malformed"),
        ({"signature": {"vocab_size": 12, "max_length": 10}}, "malformed"),
        ({"files": ["model.onnx"]}, "malformed: files"),
        ({"files": {"a": None}}, "malformed: the record of a"),
        ({"files": {"a": {"size": 1}}}, "malformed: the record of a"),
        ({"files": {"a": {"size": True, "sha256": SHA}}}, "malformed: the record of a"),
        ({"files": {"a": {"size": -1, "sha256": SHA}}}, "malformed: the record of a"),
        ({"files": {"a": {"size": 1.0, "sha256": SHA}}}, "malformed: the record of a"),
        ({"files": {"a": {"size": 1, "sha256": "0"}}}, "malformed: the record of a"),
        ({"files": {"a": {"size": 1, "sha256": SHA, "link": ""}}}, "malformed: the record of a"),
        ({"surprise": 1}, "malformed.*surprise"),
    ],
)
def test_a_manifest_has_to_make_sense(
    own_bundle: Path, reseal: Reseal, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Manifest.from_json(reseal(own_bundle, **changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_bundle_of_version_1_gives_the_same_bytes(any_bundle: Path) -> None:
    data = (any_bundle / "manifest.json").read_bytes()
    manifest = Manifest.from_json(data)
    assert b'"format_version": 1,' in data
    assert (manifest.signature.task, manifest.signature.min_length) == ("classes", 1)
    assert manifest.to_json() == data


@pytest.mark.parametrize(
    ("more", "labels", "threshold"),
    [
        ({"min_length": 5}, ("no", "yes"), 0.5),
        ({"task": "tokens"}, ("no", "yes"), 0.5),
        ({"task": "tokens", "num_classes": 3, "pad_id": 0}, ("O", "B", "I"), None),
        ({"task": "multilabel", "num_classes": 3}, (7, 8, 9), 0.25),
        ({"task": "multilabel"}, ("spam",), 0.5),
        ({"task": "regression"}, ("price",), None),
        ({"task": "regression", "num_classes": 2, "min_length": 2}, ("width", "height"), None),
    ],
)
def test_what_is_new_is_of_version_2(
    more: dict[str, Any], labels: tuple[Any, ...], threshold: float | None
) -> None:
    signature = Signature(vocab_size=9, max_length=6, **more)
    made = Manifest(signature, labels, threshold, SHA)
    data = made.to_json()
    assert b'"format_version": 2,' in data
    assert Manifest.from_json(data) == made
    assert json.loads(data)["signature"]["outputs"]["logits"]["axes"] == [*signature.output_axes]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"task": "poetry"}, "task is 'poetry'; allowed: classes, multilabel, regression, tokens"),
        ({"task": ["classes"]}, r"task is \['classes'\]; allowed: classes"),
        ({"task": "tokens"}, "inputs and outputs"),
        ({"task": "regression"}, "allowed: 1 distinct labels"),
        ({"min_length": 0}, "min_length is 0; allowed: a whole number, 1 to 10"),
        ({"min_length": 11}, "min_length is 11; allowed: a whole number, 1 to 10"),
        ({"min_length": True}, "min_length is True; allowed"),
    ],
)
def test_a_task_and_a_least_length_have_to_make_sense(
    own_bundle: Path, reseal: Reseal, more: dict[str, Any], message: str
) -> None:
    signature = json.loads((own_bundle / "manifest.json").read_bytes())["signature"]
    data = reseal(own_bundle, signature={**signature, **more}, format_version=2)
    with pytest.raises(BundleError, match=message) as caught:
        Manifest.from_json(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("allow_flips", [0.001, 0, 1.0, None])
def test_rounded_weights_are_of_version_4(notebook_bundle: Path, allow_flips: float | None) -> None:
    plain = Manifest.from_json((notebook_bundle / "manifest.json").read_bytes())
    made = dataclasses.replace(plain, compact=Compact("int8", SHA, allow_flips))
    data = made.to_json()
    assert b'"format_version": 4,' in data
    assert Manifest.from_json(data) == made


def test_a_bundle_with_rounded_weights_gives_the_same_bytes(compact_bundle: Path) -> None:
    data = (compact_bundle / "manifest.json").read_bytes()
    manifest = Manifest.from_json(data)
    assert manifest.to_json() == data
    assert manifest.compact is not None
    assert manifest.compact.dtype == "float16"
    assert manifest.compact.trained_sha256 != manifest.weights_sha256
    open_bundle(compact_bundle)


@pytest.mark.parametrize(
    "compact",
    [
        None,
        "float16",
        {},
        {"dtype": "float16", "trained_sha256": SHA},
        {"dtype": "float8", "trained_sha256": SHA, "allow_flips": 0.1},
        {"dtype": ["float16"], "trained_sha256": SHA, "allow_flips": 0.1},
        {"dtype": "float16", "trained_sha256": "a", "allow_flips": 0.1},
        {"dtype": "float16", "trained_sha256": SHA, "allow_flips": 1.5},
        {"dtype": "float16", "trained_sha256": SHA, "allow_flips": -0.5},
        {"dtype": "float16", "trained_sha256": SHA, "allow_flips": True},
        {"dtype": "float16", "trained_sha256": SHA, "allow_flips": "0.1"},
        {"dtype": "float16", "trained_sha256": SHA, "allow_flips": 0.1, "more": 1},
    ],
    ids=str,
)
def test_how_weights_were_rounded_has_to_make_sense(
    own_bundle: Path, reseal: Reseal, compact: Any
) -> None:
    with pytest.raises(BundleError, match="malformed: compact is"):
        Manifest.from_json(reseal(own_bundle, compact=compact, format_version=4))


@pytest.mark.parametrize("field", ["labels", "threshold", "files", "signature", "versions"])
def test_a_field_must_not_be_missing(own_bundle: Path, reseal: Reseal, field: str) -> None:
    values = json.loads((own_bundle / "manifest.json").read_bytes())
    del values[field]
    (own_bundle / "manifest.json").write_text(json.dumps(values))
    data = reseal(own_bundle)
    if field == "files":  # which resealing puts back
        data = reseal(own_bundle, files=None)
    with pytest.raises(BundleError, match=f"malformed.*{field}"):
        Manifest.from_json(data)


def test_the_tensors_are_those_of_the_signature(own_bundle: Path, reseal: Reseal) -> None:
    signature = json.loads((own_bundle / "manifest.json").read_bytes())["signature"]
    signature["outputs"]["logits"]["axes"] = ["batch", 3]
    with pytest.raises(BundleError, match="inputs and outputs"):
        Manifest.from_json(reseal(own_bundle, signature=signature))


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/passwd",
        "folder/model.onnx",
        "folder\\model.onnx",
        "..",
        ".",
        "",
        ".hidden",
        "C:model.onnx",
        "model.onnx\0",
        "model.onnx\n",
        "model.onnx.",
        "manifest.json",
        "Manifest.JSON",
        "model.sig",
        "m" * 101,
        "модель.onnx",
        "\ud800",
    ],
)
def test_a_name_that_is_no_plain_file_is_refused(
    own_bundle: Path, reseal: Reseal, name: str
) -> None:
    reseal(own_bundle, files={name: {"size": 1, "sha256": SHA}})
    with pytest.raises(BundleError, match=r"plain name in the folder|not JSON"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        '{"format": "pe_deploy.bundle"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"format": "pe_deploy.bundle", "format_version": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 1}',
        b'{"b": [{"a": 1, "a": 2}]}',
        b'{"a": "\\ud800"}',
        b'{"a": "\t"}',
        b"{'a': 1}",
        b'{"a": 1} {}',
    ],
)
def test_what_is_no_json_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=CHANGED) as caught:
        Manifest.from_json(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b'"threshold": 0.5,\n  "threshold": 0.5', "'threshold' occurs twice"),
        (b'"threshold": NaN', "NaN"),
        (b'"threshold": 1e400', "not finite"),
        (b'"threshold": ' + b"1" * 30, "30 digits"),
        (b'"threshold": ' + b"[" * 40 + b"]" * 40, "deeper than 32 levels"),
    ],
)
def test_what_readers_would_not_agree_on_is_named(
    notebook_bundle: Path, field: bytes, message: str
) -> None:
    data = (notebook_bundle / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(data.replace(b'"threshold": 0.5', field))


def test_brackets_in_texts_are_no_depth(own_bundle: Path, reseal: Reseal) -> None:
    label = '"[{' * 100 + "\\"
    data = reseal(own_bundle, labels=["no", label])
    assert Manifest.from_json(data).labels == ("no", label)


def test_a_manifest_over_its_size_is_refused_unread(own_bundle: Path, reseal: Reseal) -> None:
    data = reseal(own_bundle, model={"notes": "x" * 2**20})
    with pytest.raises(BundleError, match=r"has \d+ bytes; allowed: 1048576 or fewer"):
        Manifest.from_json(data)
    with (own_bundle / "manifest.json").open("r+b") as file:
        file.truncate(2**40)  # a hole: to read it whole would not end
    with pytest.raises(BundleError, match=r"manifest\.json has 1099511627776 bytes; allowed"):
        open_bundle(own_bundle)
