"""The folder for Triton, read as Triton reads it: by its own messages, and the model it names."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier, open_bundle
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort
from tests.conftest import Done
from tests.needs import need

need("serve", modules=("tritonclient", "typer"))

from google.protobuf import text_format  # noqa: E402
from tritonclient.grpc import model_config_pb2  # noqa: E402

Run = Callable[..., Done]
BUNDLES = Path(__file__).parents[1] / "bundles"
NAMES = ("notebook", "padded", "shortest", "multilabel", "tokens", "numbers", "bytes")
TYPES = {
    "tensor(int64)": "TYPE_INT64",
    "tensor(float)": "TYPE_FP32",
    "tensor(string)": "TYPE_STRING",
}


def parsed(folder: Path) -> Any:
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def check_tensor(stated: Any, value: Any) -> None:
    """A tensor as Triton compares it with the model: its dims behind the free axis of the batch."""
    assert stated.name == value.name
    assert (
        stated.DESCRIPTOR.fields_by_name["data_type"]
        .enum_type.values_by_number[stated.data_type]
        .name
        == TYPES[value.type]
    )
    shape = [axis if isinstance(axis, int) else -1 for axis in value.shape]
    dims = list(stated.reshape.shape) if stated.HasField("reshape") else list(stated.dims)
    assert [-1, *dims] == shape
    assert stated.dims  # Triton takes no tensor without any
    assert np.prod(stated.dims) == 1 or list(stated.dims) == dims


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_of_the_model(name: str, tmp_path: Path, run: Run) -> None:
    assert run("layout", "triton", BUNDLES / name, "-o", tmp_path, "--name", "m").code == 0
    folder = tmp_path / "m"
    config = parsed(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("m", "onnxruntime", 256)
    assert config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, 2)]  # KIND_CPU
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    model = folder / "1" / "model.onnx"
    assert model.read_bytes() == (BUNDLES / name / "model.onnx").read_bytes()
    session = ort.InferenceSession(str(model))
    for stated, values in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        assert len(stated) == len(values) == 1
        check_tensor(stated[0], values[0])
    [warm_up] = config.model_warmup
    tensor = warm_up.inputs["input_ids"]
    first = (folder / "warmup" / tensor.input_data_file).read_bytes()
    ids = np.frombuffer(first, "<i8").reshape(warm_up.batch_size, *tensor.dims)
    assert np.isfinite(session.run(None, {"input_ids": ids})[0]).all()


def test_labels_stand_in_a_file_of_their_own(tmp_path: Path, run: Run) -> None:
    run("layout", "triton", BUNDLES / "padded", "-o", tmp_path)
    [output] = parsed(tmp_path / "padded").output
    labels = (tmp_path / "padded" / output.label_filename).read_text().splitlines()
    assert labels == ["low", "middle", "high"]
    assert len(labels) == output.dims[0]
    run("layout", "triton", BUNDLES / "notebook", "-o", tmp_path)
    assert parsed(tmp_path / "notebook").output[0].label_filename == ""


def test_texts_go_to_the_graph_that_takes_them(tmp_path: Path, run: Run) -> None:
    bundle = BUNDLES / "words"
    run("layout", "triton", bundle, "-o", tmp_path / "repository", "--name", "reviews")
    folder = tmp_path / "repository" / "reviews"
    config = parsed(folder)
    session = ort.InferenceSession(str(folder / "1" / "model.onnx"))
    check_tensor(config.input[0], session.get_inputs()[0])
    tensor = config.model_warmup[0].inputs["texts"]
    first = (folder / "warmup" / tensor.input_data_file).read_bytes()
    (length,) = struct.unpack_from("<I", first)
    text = first[4:].decode()
    assert len(first) == 4 + length
    logits = session.run(None, {"texts": np.array([text], object)})[0]
    expected = OnnxClassifier(bundle).predict_logits([text])
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    run(
        "layout",
        "triton",
        bundle,
        "-o",
        tmp_path / "repository",
        "--name",
        "ids",
        "--graph",
        "latency",
    )
    assert parsed(tmp_path / "repository" / "ids").input[0].name == "input_ids"


def test_what_is_there_is_replaced_only_if_it_was_made_here(tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.pbtxt").write_text('name: "other"')
    refused = run("layout", "triton", BUNDLES / "padded", "-o", tmp_path, "--name", "other")
    assert refused.code == 1
    assert "was not made from a bundle; choose another --name" in refused.err
    assert (other / "config.pbtxt").read_text() == 'name: "other"'
    for rows in ("8", "16"):
        run("layout", "triton", BUNDLES / "padded", "-o", tmp_path, "--max-rows", rows)
        assert parsed(tmp_path / "padded").max_batch_size == int(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "padded"]
    missing = run("layout", "triton", BUNDLES / "shortest", "-o", tmp_path, "--graph", "text")
    assert "holds no model.text.onnx" in missing.err
    digest = (tmp_path / "padded" / "config.pbtxt").read_text().splitlines()[0].split(": ")[1]
    manifest = open_bundle(BUNDLES / "padded").manifest_json
    import hashlib

    assert digest == hashlib.sha256(manifest).hexdigest()
