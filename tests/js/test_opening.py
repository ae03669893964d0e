"""What a bundle has to be to be opened in JavaScript: whole, unchanged, and itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier, open_bundle
from pe_deploy.bundle.golden import golden_to_bytes
from pe_deploy.errors import PeDeployError
from tests.clients.javascript import program
from tests.conftest import sealed
from tests.js.conftest import Ask

MADE = Path(__file__).parents[1] / "bundles"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy, of a bundle that takes texts, that a test may damage."""
    return Path(shutil.copytree(MADE / "characters", tmp_path / "bundle"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Where a server has that copy."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/bundle"
        server.shutdown()


def opened(ask: Ask, place: str | Path, **options: Any) -> dict[str, Any]:
    (answer,) = ask([{"bundle": str(place), "options": options, "asks": [["labels"]]}])
    return answer


def changed(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def rewritten(folder: Path, **changes: Any) -> None:
    """A manifest with other values, that vouches for itself."""
    manifest = folder / "manifest.json"
    manifest.write_bytes(sealed({**json.loads(manifest.read_bytes()), **changes}))


ALWAYS = ("manifest.json", "model.onnx", "vocab.txt")
FROM_A_DISK = ("model.throughput.onnx",)
BY_SELF_TEST = ("golden.npz", "golden.texts.json")


@pytest.mark.parametrize("name", [*ALWAYS, *FROM_A_DISK, *BY_SELF_TEST])
def test_a_changed_file_is_refused_as_in_python(
    node: Ask, bundle: Path, site: str, name: str
) -> None:
    changed(bundle / name)
    needs_self_test = name in BY_SELF_TEST
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(bundle, self_test=needs_self_test)
    answer = opened(node, bundle, selfTest=needs_self_test)
    assert answer["error"]["name"] == type(refused.value).__name__
    if name != "manifest.json":
        assert "was changed after it was published" in answer["error"]["message"]
        assert answer["error"]["message"].endswith(str(refused.value).removeprefix(str(bundle)))
    options = {"form": "throughput"} if name in FROM_A_DISK else {"selfTest": needs_self_test}
    answer = opened(node, site, **options)
    assert answer["error"]["name"] == "BundleError"
    assert f"{site}" in answer["error"]["message"]
    assert "was changed after it was published" in answer["error"]["message"]


def test_nothing_that_is_not_run_is_read(node: Ask, bundle: Path, site: str) -> None:
    for name in ("model.pt", "parity.json", "README.md"):
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
    (bundle / "not-listed.onnx").mkdir()
    assert opened(node, bundle, selfTest=True)["answers"][0]["value"] == ["animal", "food", "art"]
    assert "answers" in opened(node, f"{site}/", selfTest=True)
    for name in BY_SELF_TEST + FROM_A_DISK:
        (bundle / name).unlink()
    assert "answers" in opened(node, bundle)
    assert "answers" in opened(node, bundle.as_uri())
    changed(bundle / "model.onnx", at=0)
    assert "error" in opened(node, bundle)


def cut(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def as_a_pipe(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def with_manifest(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewritten(folder, **changes)


RECORD = {"size": 1, "sha256": "0" * 64}
DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "no manifest": removed("manifest.json"),
    "no model": removed("model.onnx"),
    "no vocabulary": removed("vocab.txt"),
    "a pipe": as_a_pipe,
    "no folder": shutil.rmtree,
    "a newer format": with_manifest(format_version=5),
    "another format": with_manifest(format="zip"),
    "odd version": with_manifest(format_version=0),
    "huge version": with_manifest(format_version=2**63 + 1),
    "one label": with_manifest(labels=["animal"]),
    "labels twice": with_manifest(labels=["animal", "art", "art"]),
    "mixed labels": with_manifest(labels=["animal", 1, "art"]),
    "a threshold": with_manifest(threshold=0.5),
    "a parent": with_manifest(files={"../model.onnx": RECORD}),
    "an absolute name": with_manifest(files={"/etc/passwd": RECORD}),
    "a drive": with_manifest(files={"C:model.onnx": RECORD}),
    "its own record": with_manifest(files={"manifest.json": RECORD}),
    "no files": with_manifest(files={}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_in_pythons_words(node: Ask, bundle: Path, damage: str) -> None:
    DAMAGES[damage](bundle)
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(bundle)
    answer = opened(node, bundle)
    message = str(refused.value)
    assert (answer["error"]["name"], answer["error"]["message"]) == ("BundleError", message)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": 5},
        {"files": {"model.onnx": {"size": -1, "sha256": "0" * 64}}},
        {"dispatch": {"crossover": 0}},
        {"signature": {}},
        {"text": {"kind": "bytes"}},
        {"text": 1},
        {"compact": None},
        {"compact": {"dtype": "float8", "trained_sha256": "0" * 64, "allow_flips": 0}},
        {"compact": {"dtype": "int8", "trained_sha256": "0" * 64, "allow_flips": 2}},
        {"labels": None},
        {"parity": {"floors": {"by_length": {"x": 1}, "least": 0}}},
        {"model": 1},
        {"weights_sha256": "0"},
        {"model": json.loads("[" * 40 + "]" * 40)},
    ],
)
def test_a_manifest_that_misstates_a_field_is_refused(
    node: Ask, bundle: Path, changes: dict[str, Any]
) -> None:
    rewritten(bundle, **changes)
    with pytest.raises(PeDeployError):
        OnnxClassifier(bundle)
    answer = opened(node, bundle)
    assert answer["error"]["name"] == "BundleError"
    assert str(bundle) in answer["error"]["message"]


def test_a_key_that_occurs_twice_is_refused(node: Ask, bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    values = json.loads(manifest.read_bytes())
    odd = sealed({**values, "odd": 1}).replace(b'"odd": 1', b'"labels": []')
    manifest.write_bytes(odd)
    message = opened(node, bundle)["error"]["message"]
    assert "not JSON: key 'labels' occurs twice" in message


def test_what_is_no_manifest_is_refused(node: Ask, bundle: Path) -> None:
    for data in (
        b"",
        b"{",
        b"<html>",
        b"\xff",
        b"[]",
        b"null",
        b'"\\ud800"',
        b"{}{}",
        b" " * 2**21,
    ):
        (bundle / "manifest.json").write_bytes(data)
        message = opened(node, bundle)["error"]["message"]
        assert message.startswith(f"{bundle}"), message
        assert "manifest.json" in message


def test_options_are_checked(node: Ask) -> None:
    place = MADE / "notebook"
    for options, message in (
        ({"treshold": 0.5}, "option 'treshold'; allowed: truncation, threshold, selfTest, "),
        ({"threshold": 2}, "threshold is 2; allowed: 0.0 to 1.0"),
        ({"form": "fast"}, "form is 'fast'; allowed: latency, throughput"),
        ({"truncation": "middle"}, "truncation is 'middle'; allowed: start, end, error"),
        ({"truncation": "end"}, f"truncation is 'end'; allowed: undefined, as {place} takes ids "),
        ({"selfTest": 1}, "selfTest is 1; allowed: true, false"),
    ):
        answer = opened(node, place, **options)
        assert answer["error"]["name"] == "InvalidInputError"
        assert answer["error"]["message"].startswith(message)


def test_what_is_no_place_and_no_options_is_refused(tmp_path: Path) -> None:
    code = f"""
import {{ open }} from "{(MADE.parents[1] / "js/pe-deploy.mjs").as_uri()}";
const ort = {{ InferenceSession: class {{}}, Tensor: class {{}} }};
const given = [["{MADE / "notebook"}", null], ["{MADE / "notebook"}", true], ["file://host/folder"]];
for (const [place, options] of given) {{
  const said = await open(place, ort, options).catch((e) => `${{e.name}}: ${{e.message}}`);
  console.log(said);
}}
"""
    command = [program("node"), "--input-type=module", "--eval", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert first == "InvalidInputError: options is null; allowed: an object"
    assert second == "InvalidInputError: options is true; allowed: an object"
    assert third.startswith("InvalidInputError: folder is 'file://host/folder': File URL host ")


def test_another_threshold_gives_other_labels(node: Ask) -> None:
    ids = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 0]]
    for threshold in (0.0, 0.3, 1.0):
        (answer,) = node(
            [
                {
                    "bundle": str(MADE / "notebook"),
                    "options": {"threshold": threshold},
                    "asks": [["predict", ids], ["threshold"], ["selfTest"]],
                }
            ]
        )
        labels, found, report = (each["value"] for each in answer["answers"])
        expected = OnnxClassifier(MADE / "notebook", threshold=threshold).predict(ids)
        assert labels == expected.tolist()
        assert found == threshold
        assert report["passed"]


def test_a_library_that_was_not_handed_in_is_named(node: Ask) -> None:
    error = opened(node, MADE / "pieces", tokenizers=None)["error"]
    assert error["name"] == "MissingDependencyError"
    assert "npm install @huggingface/tokenizers" in error["message"]


def test_other_ids_than_the_library_s_are_seen_when_opened(
    node: Ask, tmp_path: Path, reseal: Callable[..., bytes]
) -> None:
    folder = Path(shutil.copytree(MADE / "pieces", tmp_path / "bundle"))
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    path.write_text(json.dumps(values))
    reseal(folder)
    error = opened(node, folder)["error"]
    assert error["name"] == "ParityError"
    assert "is another than was published: text 'The cat eats fish' gives ids" in error["message"]


def test_a_fault_in_golden_vectors_is_seen(
    node: Ask, bundle: Path, reseal: Callable[..., bytes]
) -> None:
    opened_bundle = open_bundle(bundle)
    weights = opened_bundle.manifest.weights_sha256
    golden = opened_bundle.golden()
    case = golden[3]
    for part in (case.float64, case.float32):
        part.reshape(-1)[1] += np.float32(0.001)
    (bundle / "golden.npz").write_bytes(golden_to_bytes(golden, weights))
    reseal(bundle)
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(bundle, self_test=True)
    error = opened(node, bundle, selfTest=True)["error"]
    assert error["name"] == "ParityError"
    assert error["message"] == re.sub(
        r" on onnxruntime .*? computes", " computes", str(refused.value)
    )
    (answer,) = node([{"bundle": str(bundle), "asks": [["selfTest"], ["predict", ["a cat"]]]}])
    report = answer["answers"][0]["value"]
    assert not report["passed"]
    assert report["problem"] == error["message"]
    failed = [each for each in report["cases"] if not each["passed"]]
    assert len(failed) == 2  # of each graph
    assert all(each["difference"] > each["allowed"] for each in failed)
    assert "value" in answer["answers"][1]


def test_a_label_that_was_not_published_is_seen(
    node: Ask, bundle: Path, reseal: Callable[..., bytes]
) -> None:
    golden = open_bundle(bundle).golden()
    (case,) = (each for each in golden if each.labels is not None)
    assert case.labels is not None
    published = case.labels[2]
    case.labels[2] = next(label for label in ("animal", "food") if label != published)
    weights = open_bundle(bundle).manifest.weights_sha256
    (bundle / "golden.npz").write_bytes(golden_to_bytes(golden, weights))
    reseal(bundle)
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(bundle, self_test=True)
    error = opened(node, bundle, selfTest=True)["error"]
    assert error["name"] == "ParityError"
    said = f" gives row 2 of the golden vectors the label '{published}'; published was "
    assert said in error["message"]
    assert error["message"].split(said)[1] == str(refused.value).split(said)[1]


def test_two_words_exchanged_are_seen(
    node: Ask, tmp_path: Path, reseal: Callable[..., bytes]
) -> None:
    folder = Path(shutil.copytree(MADE / "words", tmp_path / "bundle"))
    path = folder / "vocab.txt"
    lines = path.read_text().split("\n")
    lines[10], lines[11] = lines[11], lines[10]
    path.write_text("\n".join(lines))
    reseal(folder)
    (answer,) = node([{"bundle": str(folder), "asks": [["selfTest"]]}])
    report = answer["answers"][0]["value"]
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(folder, self_test=True)
    assert not report["passed"]
    assert report["problem"] == str(refused.value)
    assert report["firstTextDifference"] in str(refused.value)
    assert all(each["passed"] for each in report["cases"])


@pytest.mark.parametrize("name", ["golden.npz", "golden.texts.json", "vocab.txt"])
def test_a_file_of_another_bundle_is_refused(
    node: Ask, bundle: Path, reseal: Callable[..., bytes], name: str
) -> None:
    data = {"vocab.txt": b"a\nb\na\n"}.get(name) or (MADE / "bytes" / name).read_bytes()
    (bundle / name).write_bytes(data)
    reseal(bundle)
    with pytest.raises(PeDeployError):
        OnnxClassifier(bundle, self_test=True)
    assert opened(node, bundle, selfTest=True)["error"]["name"] == "BundleError"


def test_a_graph_of_another_export_is_refused(
    node: Ask, bundle: Path, reseal: Callable[..., bytes]
) -> None:
    model = bundle / "model.onnx"
    data = model.read_bytes()
    for other in (
        (MADE / "words" / "model.onnx").read_bytes(),
        data.replace(b'"animal"', b'"enemal"'),
        data.replace(b"pe_deploy.json", b"pe_deploy.xxxx"),
        data[:-1],
        b"no graph",
    ):
        model.write_bytes(other)
        reseal(bundle)
        with pytest.raises(PeDeployError):
            OnnxClassifier(bundle)
        error = opened(node, bundle)["error"]
        assert error["name"] == "BundleError"
        assert error["message"].startswith(f"{bundle}: model.onnx "), error


def test_a_graph_without_guards_is_refused(
    node: Ask, bundle: Path, reseal: Callable[..., bytes]
) -> None:
    onnx = pytest.importorskip("onnx", reason="a graph is made with onnx")
    config = open_bundle(bundle).manifest.config()
    inputs = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "s"])
    outputs = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["b", "c"])
    node_ = onnx.helper.make_node("Cast", ["input_ids"], ["logits"], to=onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph([node_], "bare", [inputs], [outputs])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.helper.set_model_props(model, {"pe_deploy.json": json.dumps(config)})
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    (bundle / "model.throughput.onnx").unlink()
    reseal(bundle)
    with pytest.raises(PeDeployError) as refused:
        OnnxClassifier(bundle)
    assert opened(node, bundle)["error"]["message"] == str(refused.value)
