"""`manifest.json`: what a bundle is, and the digest of every other file in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pe_deploy.config import INPUT_IDS, LOGITS, Label, Signature, check_decision
from pe_deploy.errors import BundleError

FORMAT = "pe_deploy.bundle"
FORMAT_VERSION = 1

_KINDS: dict[str, type | tuple[type, ...]] = {
    "signature": dict,
    "labels": list,
    "weights_sha256": str,
    "model": (dict, type(None)),
    "versions": dict,
    "operators": dict,
    "parity": dict,
    "files": dict,
}


@dataclass(frozen=True)
class FileRecord:
    """The size in bytes and the SHA-256 of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileRecord:
        """The record of a file with this content."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """Everything a reader needs to know of a bundle before it loads a model.

    Attributes:
        signature: what callers may put in, and the shape of what comes out.
        labels: the label of each class; for a binary logit, of its two sides.
        threshold: a binary model answers `labels[1]` where its probability is above this;
            None for models with classes, where the largest logit wins.
        weights_sha256: digest of the exported weights, the same in every artifact.
        model: the architecture's own config, for the record; None where it has none.
        versions: the packages, opset and IR version that made the bundle.
        operators: how often each operator occurs in `model.onnx`.
        parity: summary of `parity.json`.
        files: the record of every other file.
    """

    signature: Signature
    labels: tuple[Label, ...]
    threshold: float | None
    weights_sha256: str
    model: Mapping[str, Any] | None = None
    versions: Mapping[str, str | int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_decision(self.signature, self.labels, self.threshold)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        values = dataclasses.asdict(self)
        values["signature"] = {
            "inputs": {INPUT_IDS: {"dtype": "int64", "axes": self.signature.input_axes}},
            "outputs": {LOGITS: {"dtype": "float32", "axes": self.signature.output_axes}},
            **values["signature"],
        }
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **values}
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read `manifest.json`.

        Raises:
            BundleError: it is no JSON, of another format, or lacks or misstates a field.
        """
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"manifest.json is not JSON: {error}") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise BundleError(f"manifest.json is not of the format {FORMAT}")
        version = values.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise BundleError(
                f"manifest.json has format_version {version!r}; "
                f"this pe_deploy reads {FORMAT_VERSION}"
            )
        try:
            for name, kind in _KINDS.items():
                if not isinstance(values[name], kind):
                    raise TypeError(f"{name} is {values[name]!r}")
            signature = dict(values.pop("signature"))
            del signature["inputs"], signature["outputs"]
            return cls(
                signature=Signature.from_dict(signature),
                labels=tuple(values.pop("labels")),
                files={name: FileRecord(**record) for name, record in values.pop("files").items()},
                **values,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"manifest.json is malformed: {' '.join(str(error).split())}"
            ) from error
