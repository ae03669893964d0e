"""Each reader of files from strangers, as a function of bytes that raises for a finding only.

A reader either reads or raises one of its own errors, whose text is one printable line of
moderate length. Any other exception is a finding; so is a hang or memory without bounds, which
the one who calls watches for.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import re
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np

from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.bundle.consistency import check_part
from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes, golden_to_bytes
from pe_deploy.bundle.manifest import FileRecord, Manifest
from pe_deploy.bundle.onnx_file import read_onnx
from pe_deploy.bundle.torchscript_file import torchscript_config
from pe_deploy.config import Signature
from pe_deploy.data import open_rows
from pe_deploy.errors import (
    BundleError,
    CheckpointError,
    DataError,
    InvalidInputError,
    ParityError,
    PeDeployError,
)
from pe_deploy.parity.report import load_report
from pe_deploy.runtime.native_build import LIBRARY, RECORD, Build, open_build
from pe_deploy.text.reading import read_tokenizer
from tests.fuzz import mutators

HERE = Path(__file__).parent
SEEDS = HERE.parent / "bundles" / "shortest"
LONGEST = 4000
"""Characters of an error's text; the paths and the names in it are not pe_deploy's own."""

_BUNDLE = ("manifest.json", "model.onnx", "model.pt", "golden.npz")
_WEIGHTS = ("model.safetensors", "last.safetensors")
_OWN_DIGEST = re.compile(rb',\n  "manifest_sha256": "[^"]*"\n}\s*\Z|\s*}\s*\Z')


class WronglySaidError(Exception):
    """An error of the right class that says it wrongly."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: calls it with the bytes and a folder to work in.
        errors: what it may raise.
        mutate: changes an input so that it gets past the first check.
        seeds: inputs to begin with.
        needs: modules that it cannot do without.
    """

    read: Callable[[bytes, Path], None]
    errors: tuple[type[PeDeployError], ...]
    mutate: mutators.Mutator
    seeds: Callable[[], list[bytes]]
    needs: tuple[str, ...] = field(default=())

    def __call__(self, data: bytes, scratch: Path) -> None:
        """Read an input.

        Raises:
            WronglySaidError: the text of the error is not one printable line.
            Exception: any that the reader may not raise.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, on odd headers
            try:
                self.read(data, scratch)
            except self.errors as error:
                text = str(error)
                if not text or not text.isprintable():
                    raise WronglySaidError(f"not one printable line: {text[:LONGEST]!a}") from error
                if len(text) > LONGEST:
                    raise WronglySaidError(f"{len(text)} characters: {text[:200]}") from error


def _manifest(data: bytes, scratch: Path) -> None:
    Manifest.from_json(_with_own_digest(data))


def _with_own_digest(data: bytes) -> bytes:
    """The same document with a digest that holds, as a skilled forger would make it."""
    if data.startswith(b"#"):  # so that those without one are tried, too
        return data[1:]
    zeros = b',\n  "manifest_sha256": "%s"\n}\n'
    start = _OWN_DIGEST.search(data)
    body = data[: start.start()] if start else data
    digest = hashlib.sha256(body + zeros % (b"0" * 64)).hexdigest()
    return body + zeros % digest.encode()


def _build(data: bytes, scratch: Path) -> None:
    files = {RECORD: _with_own_digest(data), LIBRARY: b"a library"}
    build = open_build(_written(scratch / "build", files))
    build.check("a" * 64, {"model.c": FileRecord(1, "b" * 64)}, "bundle")


def _build_seeds() -> list[bytes]:
    sources = {"model.c": FileRecord(1, "b" * 64)}
    here = (platform.system(), platform.machine(), 8 * struct.calcsize("P"), "Z80")
    return [
        Build(b"a library", "model", "a" * 64, sources, "cc", ("-O3",), *here, features).to_json()
        for features in (("avx",), ())
    ]


def _golden(data: bytes, scratch: Path, signature: Signature) -> None:
    golden_from_bytes(data, signature)


def _onnx(data: bytes, scratch: Path) -> None:
    read_onnx(data).check_tensors()


def _torchscript(data: bytes, scratch: Path) -> None:
    torchscript_config(data)


def _bundle(data: bytes, scratch: Path) -> None:
    files = mutators.unpack(data)
    if "manifest.json" in files:
        files["manifest.json"] = _listing(files)
    bundle = open_bundle(_written(scratch / "bundle", files))
    if "golden.npz" in bundle.files:
        bundle.golden()


def _listing(files: dict[str, bytes]) -> bytes:
    try:
        values = json.loads(files["manifest.json"])
        if isinstance(values, dict):
            values.pop("manifest_sha256", None)
            values["files"] = {
                name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in files.items()
                if name != "manifest.json"
            }
        text = json.dumps(values, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return files["manifest.json"]
    return _with_own_digest(text.encode(errors="surrogatepass"))


def _rows(data: bytes, scratch: Path, suffix: str) -> None:
    path = scratch / f"rows.{suffix}"
    path.write_bytes(data)
    try:
        _copied(path, tolerant=False)
    except DataError:  # a row's own, or of the file
        if suffix != "npz":
            _copied(path, tolerant=True)
        raise


def _copied(path: Path, tolerant: bool) -> None:
    with open_rows(path, chunk_rows=64, tolerant=tolerant) as reader:
        output = path.parent / f"out{reader.allowed_suffixes[0]}"
        with reader.writer(output, {"label": np.int64}) as write:
            for chunk in reader:
                chunk.given()
                if "label" in reader.columns:
                    reader.labels(chunk)
                write(chunk, {"label": np.zeros(len(chunk), np.int64)})


@cache
def _words() -> Manifest:
    return Manifest.from_json((HERE.parent / "bundles" / "words" / "manifest.json").read_bytes())


def _of_words(data: bytes, scratch: Path, name: str) -> None:
    check_part(name, data, _words())


def _tokenizer(data: bytes, scratch: Path, name: str) -> None:
    path = scratch / name
    path.write_bytes(data)
    tokenizer = read_tokenizer(path)
    for text in ("", "the cat [PAD]", "é" * 9):
        with suppress(InvalidInputError):  # a token without an id
            tokenizer.tokens([text], 5)
    tokenizer.vocabulary()


def _report(data: bytes, scratch: Path) -> None:
    path = scratch / "parity.json"
    path.write_bytes(data)
    report = load_report(path)
    report.summary()
    report.to_json()
    report.raise_if_failed()


def _checkpoint(data: bytes, scratch: Path) -> None:
    from pe_deploy.training.checkpoint import config_to_bytes, load_checkpoint

    files = mutators.unpack(data)
    try:
        content = json.loads(files.get("config.json", b""))
        if isinstance(content, dict):
            content.pop("sha256", None)
            if isinstance(content.get("files"), dict):
                for name in content["files"].keys() & files.keys():
                    content["files"][name] = hashlib.sha256(files[name]).hexdigest()
            files["config.json"] = config_to_bytes(content)
    except (ValueError, RecursionError):
        pass  # as it is, then
    load_checkpoint(_written(scratch / "checkpoint", files))


def _weights(data: bytes, scratch: Path, suffix: str) -> None:
    from pe_deploy.training.checkpoint import load_checkpoint

    path = scratch / f"weights.{suffix}"
    path.write_bytes(data)
    load_checkpoint(path)


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        if name not in (".", ".."):
            (folder / name).write_bytes(data)
    return folder


def _seed(name: str) -> list[bytes]:
    return [(SEEDS / name).read_bytes()]


def _bundle_seeds() -> list[bytes]:
    files = {name: (SEEDS / name).read_bytes() for name in _BUNDLE}
    return [mutators.pack(files), mutators.pack({"manifest.json": files["manifest.json"]})]


_TOKENS = Signature(vocab_size=5, max_length=2, num_classes=3, pad_id=0, task="tokens")


def _token_seeds() -> list[bytes]:
    ids, logits = np.array([[1, 2], [3, 0]]), np.zeros((2, 2, 3))
    labels, targets = np.array([["a", "b"], ["c", "a"]]), np.array([[0, 1], [2, -1]])
    case = GoldenCase(ids, logits, logits.astype(np.float32), labels, targets)
    return [golden_to_bytes([case], "a" * 64)]


def _npy_seeds() -> list[bytes]:
    made: list[bytes] = []
    for array in (np.arange(6).reshape(3, 2), np.asfortranarray(np.eye(2, dtype=np.uint64))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        made.append(buffer.getvalue())
    return made


def _npz_seeds() -> list[bytes]:
    ids = np.arange(6).reshape(3, 2)
    made: list[bytes] = []
    for name, array in (("label", np.array(["a", "b", "c"])), ("other", np.eye(2))):
        for order in (ids, np.asfortranarray(ids), ids.astype(np.uint64)):
            buffer = io.BytesIO()
            np.savez(buffer, **{"input_ids": order, name: array})  # type: ignore[arg-type]
            made.append(buffer.getvalue())
    return made


def _parquet_seeds() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made: list[bytes] = []
    for kind in (pa.list_(pa.int64()), pa.list_(pa.uint64(), 2), pa.large_list(pa.int8())):
        ids = pa.array([[1, 2], [3, 4], [5, 6]], kind)
        table = pa.table({"input_ids": ids, "label": ["a", "b", "c"]})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="none" if made else "snappy")
        made.append(buffer.getvalue())
    return made


@cache
def _checkpoint_files(former: bool = False) -> dict[str, bytes]:
    """The files of a checkpoint, its rows as they are written now or as they were at first."""
    import safetensors.torch
    import torch

    from pe_deploy.model_config import ModelConfig, TrainConfig
    from pe_deploy.training.model import GRUClassifier

    config = ModelConfig(5, 3, embedding_dim=2, hidden_dim=2, num_layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = safetensors.torch.save(GRUClassifier(config).state_dict())
    rows = {"input_ids": np.ones((2, 3), np.int64), "targets": np.array([0, 1])}
    if former:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **rows)  # type: ignore[arg-type]
        validation = {"validation.npz": buffer.getvalue()}
    else:
        tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
        validation = {"validation.safetensors": safetensors.torch.save(tensors)}
    files = {**dict.fromkeys(_WEIGHTS, weights), **validation}
    content = {
        "model": config.to_dict(),
        "training": TrainConfig().to_dict(),
        "labels": [0, 1],
        "threshold": 0.5,
        "files": dict.fromkeys(files, ""),
    }
    return {"config.json": json.dumps(content).encode(), **files}


def _state_dict_seeds() -> list[bytes]:
    import safetensors.torch
    import torch

    state = safetensors.torch.load(_checkpoint_files()["model.safetensors"])
    # As a trainer wraps them, and as another hand names them.
    wrapped = {"epoch": 1, "state_dict": {f"model.{name}": one for name, one in state.items()}}
    renamed = {
        name.replace("rnn_lay", "gru").replace("fc_lay", "fc"): state[name] for name in state
    }
    made: list[bytes] = []
    for content, new in ((state, True), (state, False), (wrapped, True), (renamed, False)):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=new)
        made.append(buffer.getvalue())
    return made


_CSV = b"""input_ids,label,note
1 2 3,a,
4 5,b,"x ""y"", z"
-6,c,"two\nlines"
"""
_TEXTS = b"""text;label
good day;true
"a ""b"" c";False
;NA
"""
_LISTS = b"""label\tinput_ids
1.0\t[1, 2]
nan\t(3,)
2\t[np.int64(4) 5]
"""
_ARRAY = b"""[{"input_ids": [1, 2], "label": 1.0}, {"input_ids": "[3]", "label": null} ]
"""
_JSONL = b"""{"input_ids": [1, 2, 3], "label": 1, "note": {"a": [null, 1.5, true]}}
{"input_ids": [], "label": "b", "\\u00e9": "\\ud83d\\ude00"}

{"label": 2, "input_ids": [-4]}
"""

TARGETS = {
    "manifest": Target(
        _manifest, (BundleError,), mutators.of_json, partial(_seed, "manifest.json")
    ),
    "build": Target(_build, (BundleError,), mutators.of_json, _build_seeds),
    "golden": Target(
        partial(_golden, signature=Signature(vocab_size=5, max_length=1)),
        (BundleError,),
        mutators.of_zip,
        partial(_seed, "golden.npz"),
    ),
    "golden_of_tokens": Target(
        partial(_golden, signature=_TOKENS), (BundleError,), mutators.of_zip, _token_seeds
    ),
    "onnx": Target(_onnx, (BundleError,), mutators.of_protobuf, partial(_seed, "model.onnx")),
    "torchscript": Target(
        _torchscript, (BundleError,), mutators.of_zip, partial(_seed, "model.pt")
    ),
    "bundle": Target(_bundle, (BundleError,), mutators.of_folder, _bundle_seeds),
    "csv": Target(partial(_rows, suffix="csv"), (DataError,), mutators.of_csv, lambda: [_CSV]),
    "jsonl": Target(
        partial(_rows, suffix="jsonl"), (DataError,), mutators.of_lines, lambda: [_JSONL]
    ),
    "csv_of_texts": Target(
        partial(_rows, suffix="csv"), (DataError,), mutators.of_csv, lambda: [_TEXTS, _LISTS]
    ),
    "csv_gz": Target(
        partial(_rows, suffix="csv.gz"),
        (DataError,),
        mutators.of_bytes,
        lambda: [gzip.compress(_CSV, mtime=0)],
    ),
    "json": Target(partial(_rows, suffix="json"), (DataError,), mutators.of_json, lambda: [_ARRAY]),
    "npy": Target(partial(_rows, suffix="npy"), (DataError,), mutators.of_bytes, _npy_seeds),
    "npz": Target(partial(_rows, suffix="npz"), (DataError,), mutators.of_zip, _npz_seeds),
    "parquet": Target(
        partial(_rows, suffix="parquet"),
        (DataError,),
        mutators.of_bytes,
        _parquet_seeds,
        ("pyarrow",),
    ),
    "golden_texts": Target(
        partial(_of_words, name="golden.texts.json"),
        (BundleError,),
        mutators.of_json,
        lambda: [b'{"texts": [["a", [1, 2]], ["b\\u00e9", null]]}'],
    ),
    "vocabulary": Target(
        partial(_of_words, name="vocab.txt"),
        (BundleError,),
        mutators.of_lines,
        lambda: [b"[PAD]\n[UNK]\nthe\ncat\n\n"],
    ),
    "tokenizer": Target(
        partial(_tokenizer, name="vocab.json"),
        (DataError, InvalidInputError),
        mutators.of_json,
        lambda: [b'{"[PAD]": 0, "the": 2, "cat": 3}', b'["[PAD]", "[UNK]", "a", "b"]'],
    ),
    "tokenizer_json": Target(
        partial(_tokenizer, name="tokenizer.json"),
        (DataError, InvalidInputError),
        mutators.of_json,
        lambda: [(HERE.parent / "bundles" / "pieces" / "tokenizer.json").read_bytes()],
        ("tokenizers",),
    ),
    "report": Target(
        _report, (DataError, ParityError), mutators.of_json, partial(_seed, "parity.json")
    ),
    "checkpoint": Target(
        _checkpoint,
        (CheckpointError,),
        mutators.of_folder,
        lambda: [mutators.pack(_checkpoint_files(former)) for former in (False, True)],
        ("torch", "safetensors"),
    ),
    "safetensors": Target(
        partial(_weights, suffix="safetensors"),
        (CheckpointError,),
        mutators.of_safetensors,
        lambda: [_checkpoint_files()["model.safetensors"]],
        ("torch", "safetensors"),
    ),
    "state_dict": Target(
        partial(_weights, suffix="pt"),
        (CheckpointError,),
        mutators.of_zip,
        _state_dict_seeds,
        ("torch", "safetensors"),
    ),
}


def corpus(name: str) -> Iterator[tuple[str, bytes]]:
    """What a target's inputs begin with, each with a name: its seeds, and all that was found."""
    for index, data in enumerate(TARGETS[name].seeds()):
        yield f"seed-{index}", data
    for path in sorted((HERE / "corpus" / name).glob("*")):
        yield path.name, path.read_bytes()


def mutations(name: str, count: int, seed: int = 0) -> Iterator[bytes]:
    """That many damaged inputs of a target, the same at each call."""
    rng = random.Random(f"{name} {seed}")
    inputs = [data for _, data in corpus(name)]
    for _ in range(count):
        mutate = TARGETS[name].mutate if rng.randrange(5) else mutators.of_bytes
        yield mutate(rng.choice(inputs), rng)
