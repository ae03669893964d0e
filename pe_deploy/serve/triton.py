"""A bundle as a folder of a Triton model repository: the model, and a configuration that fits it.

Source of the fields: Triton's `model_config.proto`, and its onnxruntime backend for `parameters`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pe_deploy.bundle.artifacts import ONNX, TEXT_ONNX, THROUGHPUT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.runtime.text_graph import TEXTS
from pe_deploy.serve.tensors import packed_texts
from pe_deploy.storage.atomic import publishing
from pe_deploy.storage.digest import sha256

Graph = Literal["latency", "throughput", "text"]

GRAPHS: dict[Graph, str] = {"latency": ONNX, "throughput": THROUGHPUT, "text": TEXT_ONNX}

CONFIG = "config.pbtxt"
LABELS = "labels.txt"
_WARM_UP = "first"
_MADE_BY = "# Made by pe_deploy of the bundle with this manifest: "


def write_triton(
    bundle: Bundle,
    repository: Path,
    name: str,
    *,
    graph: Graph | None = None,
    most_rows: int = 256,
    instances: int = 1,
) -> Path:
    """Write `repository/name` for Triton, whole or not at all; what else is there stays.

    It holds `1/model.onnx`, `config.pbtxt`, `labels.txt` of a model with classes, and a request
    that warms it up.

    Args:
        bundle: with all its files.
        repository: a folder of models, which is made where it is missing.
        name: of the model.
        graph: which of the bundle's; by default the one that takes texts, where there is one.
        most_rows: of a batch.
        instances: of the model, one thread each.

    Returns:
        The folder of the model.

    Raises:
        BundleError: the bundle has no such graph.
        InvalidInputError: the folder is there, and was not made here.
    """
    wanted = graph or ("text" if TEXT_ONNX in bundle.files else "latency")
    if GRAPHS[wanted] not in bundle.files:
        raise BundleError(f"{bundle.folder} holds no {GRAPHS[wanted]}, the graph for {wanted}")
    folder = repository / name
    _check_replaceable(folder)
    config = _Config(bundle, wanted, name, most_rows, instances)
    with publishing(folder) as staging:
        (staging / "1").mkdir()
        (staging / "1" / ONNX).write_bytes(bundle.read(GRAPHS[wanted]))
        (staging / CONFIG).write_text("\n".join(config.lines()) + "\n", encoding="utf-8")
        if config.labels is not None:
            (staging / LABELS).write_text(config.labels, encoding="utf-8")
        (staging / "warmup").mkdir()
        (staging / "warmup" / _WARM_UP).write_bytes(config.first)
    return folder


def _check_replaceable(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    config = folder / CONFIG
    if not config.is_file() or not config.read_bytes().startswith(_MADE_BY.encode()):
        raise InvalidInputError(
            f"{folder} is there, and was not made from a bundle; choose another --name"
        )


class _Config:
    """The text of `config.pbtxt`, and the files that it names."""

    def __init__(
        self, bundle: Bundle, graph: Graph, name: str, most_rows: int, instances: int
    ) -> None:
        self._name, self._most_rows, self._instances = name, most_rows, instances
        self._signature = bundle.manifest.signature
        self._is_text = graph == "text"
        self._digest = sha256(bundle.manifest_json)
        labels = [str(label) for label in bundle.manifest.labels]
        classes = self._signature.task == "classes" and self._signature.num_classes > 1
        # A label on two lines would move all that follow.
        plain = all(label.splitlines() == [label] for label in labels)
        self.labels = "".join(f"{label}\n" for label in labels) if classes and plain else None
        if self._is_text:
            text = next(each.text for each in bundle.golden_texts() if each.ids is not None)
            self.first, self._first_shape = packed_texts([text]), (1,)
        else:
            ids = bundle.golden()[0].input_ids[:1].astype("<i8")
            self.first, self._first_shape = ids.tobytes(), ids.shape[1:]

    def lines(self) -> Iterator[str]:
        """The lines, one after the other."""
        yield f"{_MADE_BY}{self._digest}"
        yield f"name: {json.dumps(self._name)}"
        yield 'backend: "onnxruntime"'
        yield ""
        yield "# Triton keeps the batch's axis to itself, and never makes a batch of 0 rows, which"
        yield "# the graph refuses; with 0 here, a client's empty batch would reach the graph."
        yield f"max_batch_size: {self._most_rows}"
        yield ""
        input_name, kind = (TEXTS, "STRING") if self._is_text else (INPUT_IDS, "INT64")
        input_dims = () if self._is_text else (-1,)
        axes = self._signature.output_axes[1:]
        output_dims = tuple(axis if isinstance(axis, int) else -1 for axis in axes)
        yield from _tensor("input", input_name, f"TYPE_{kind}", input_dims)
        named = [f'  label_filename: "{LABELS}"'] if self.labels is not None else []
        yield from _tensor("output", LOGITS, "TYPE_FP32", output_dims, named)
        yield ""
        yield "# A step costs little more for some rows than for one, so what waits is run"
        yield "# together; nothing waits for more to come (the delay is 0 where none is stated)."
        yield "dynamic_batching { }"
        yield ""
        yield "# One thread an instance: within a step there is too little work to share. Count as"
        yield "# many instances as the machine has processors for this model."
        yield f"instance_group [ {{ count: {self._instances} kind: KIND_CPU }} ]"
        yield from _parameters({"intra_op_thread_count": "1", "inter_op_thread_count": "1"})
        yield "# The arena would keep what the largest batch took."
        yield from _parameters({"enable_mem_arena": "0"})
        yield ""
        yield "# Not zeros or random numbers, which may be ids that the graph refuses."
        yield "model_warmup ["
        yield f'  {{ name: "{_WARM_UP}" batch_size: 1 inputs {{ key: "{input_name}" value: {{'
        dims = " ".join(f"dims: {size}" for size in self._first_shape)
        yield f'    data_type: TYPE_{kind} {dims} input_data_file: "{_WARM_UP}" }} }} }}'
        yield "]"


def _tensor(
    field: str, name: str, kind: str, dims: tuple[int, ...], more: list[str] | None = None
) -> Iterator[str]:
    """A tensor without its batch; one value a row is stated as an axis of 1 that is not there."""
    yield f"{field} [ {{"
    yield f'  name: "{name}"'
    yield f"  data_type: {kind}"
    yield f"  dims: [ {', '.join(map(str, dims or (1,)))} ]"
    if not dims:
        yield "  reshape: { shape: [ ] }"
    yield from more or []
    yield "} ]"


def _parameters(values: dict[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
