"""`manifest.json`: what a bundle is, the digest of every other file in it, and of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pe_deploy.bundle.artifacts import MANIFEST, largest
from pe_deploy.bundle.manifest_fields import check_fields
from pe_deploy.config import INPUT_IDS, LOGITS, Decision, Label, Signature
from pe_deploy.errors import BundleError, InvalidInputError, line_of
from pe_deploy.storage import strict_json
from pe_deploy.storage.digest import OWN_DIGEST, own_digest_holds, sha256, with_own_digest

if TYPE_CHECKING:
    from pe_deploy.text.spec import TextSpec

FORMAT = "pe_deploy.bundle"
FORMAT_VERSION = 4
"""2 knows more than 1: `min_length` and `task` in the signature, and `origin`; 3 knows `text`, 4
`compact`. A bundle is written as the lowest that knows all that it states, which older releases
read."""

_SINCE = {"origin": 2, "min_length": 2, "task": 2, "text": 3, "compact": 4}


class FileRecord(NamedTuple):
    """The size in bytes and the SHA-256 of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileRecord:
        """The record of a file with this content."""
        return cls(len(data), sha256(data))


class Dispatch(NamedTuple):
    """How `OnnxClassifier` runs the graphs, as was measured when the bundle was made.

    Attributes:
        crossover: from so many rows on, one thread answers sooner by `model.throughput.onnx`;
            None where there is no such file.
        chunk_rows: the most rows that a graph is given at once.
        share_rows: the fewest rows that are worth handing to another thread.
        own_threads: whether onnxruntime's own threads help `model.onnx`.
    """

    crossover: int | None = None
    chunk_rows: int = 512
    share_rows: int = 1
    own_threads: bool = False


class Compact(NamedTuple):
    """How the weights were rounded before a bundle was made of them.

    Attributes:
        dtype: "float16" or "int8", of the numbers that the ONNX files hold.
        trained_sha256: digest of the weights as they were trained.
        allow_flips: the share of labels that may be others than the trained model's; None for a
            regression, which has none.
    """

    dtype: str
    trained_sha256: str
    allow_flips: float | None


@dataclass(frozen=True)
class Manifest:
    """Everything a reader needs to know of a bundle before it loads a model.

    Attributes:
        signature: what callers may put in, and the shape of what comes out.
        labels: the label of each class; for a binary logit, of its two sides; of a regression, the
            name of each number.
        threshold: a binary model answers `labels[1]` where its probability is above this, and a
            multilabel one each label; None for all others.
        weights_sha256: digest of the exported weights, the same in every artifact.
        model: the architecture's own config, for the record; None where it has none.
        versions: the packages, opset and IR version that made the bundle.
        operators: how often each operator occurs in `model.onnx`.
        dispatch: which of the two graphs to run, and how.
        parity: summary of `parity.json`.
        files: the record of every other file but the documentation.
        origin: of a user's own module: its name, the digest of its file, how it is called; None
            for the notebook's architecture.
        text: how texts become ids; None for a bundle that takes ids alone.
        compact: how the weights were rounded; None where they are as they were trained.

    >>> from pathlib import Path
    >>> manifest = Manifest.from_json(Path("models/demo/manifest.json").read_bytes())
    >>> manifest.signature.vocab_size, sorted(manifest.files)[:2]
    (17, ['README.md', 'golden.npz'])
    """

    signature: Signature
    labels: tuple[Label, ...]
    threshold: float | None
    weights_sha256: str
    model: Mapping[str, Any] | None = None
    versions: Mapping[str, str | int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    dispatch: Dispatch = field(default_factory=Dispatch)
    parity: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    origin: Mapping[str, Any] | None = None
    text: TextSpec | None = None
    compact: Compact | None = None

    def __post_init__(self) -> None:
        self.decision.check(self.signature)
        if self.text is None:
            return
        stated = (self.text.length, self.text.padding)
        if stated != (own := (self.signature.max_length, self.signature.pad_id)):
            raise InvalidInputError(
                f"length and padding of text are {stated}; allowed: {own}, the signature's"
            )

    @property
    def decision(self) -> Decision:
        """How labels are taken from logits."""
        return Decision(self.labels, self.threshold, self.signature.task)

    def __repr__(self) -> str:
        from pe_deploy.bundle.describe import sentence  # not at an app's start, as below

        said = sentence(self.signature, self.decision, self.text)
        return f"<Manifest: {said}; {len(self.files)} files>"

    def _repr_html_(self) -> str:
        from pe_deploy.bundle.describe import manifest_html

        return manifest_html("Manifest", self)

    def config(self) -> dict[str, Any]:
        """What each artifact repeats under `CONFIG_KEY`, so that it says whose export it is of."""
        text = {} if self.text is None else {"text": self.text.to_dict()}
        return {
            "signature": self.signature.to_dict(),
            "labels": self.labels,
            "threshold": self.threshold,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            **text,
        }

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`, its own digest at the end."""
        values = dataclasses.asdict(self)
        values["signature"] = {**_tensors(self.signature), **self.signature.to_dict()}
        values["dispatch"] = self.dispatch._asdict()
        values["files"] = {name: record._asdict() for name, record in self.files.items()}
        values["text"] = None if self.text is None else self.text.to_dict()
        values["compact"] = None if self.compact is None else self.compact._asdict()
        for name in ("origin", "text", "compact"):
            if values[name] is None:
                del values[name]
        stated = {*values, *values["signature"]}
        version = max((_SINCE[name] for name in stated & _SINCE.keys()), default=1)
        return with_own_digest({"format": FORMAT, "format_version": version, **values})

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read `manifest.json`.

        Raises:
            BundleError: it is over 1 MiB, no JSON, of another or a newer format, changed since it
                was published, or lacks or misstates a field.
        """
        if len(data) > (most := largest(MANIFEST)):
            raise BundleError(f"{MANIFEST} has {len(data)} bytes; allowed: {most} or fewer")
        try:
            values = strict_json.loads(data)
        except ValueError as error:
            raise _no_manifest(f"it is not JSON: {line_of(error)}") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise _no_manifest(f"it is not of the format {FORMAT}")
        version = values.pop("format_version", None)
        if type(version) is not int or version < 1:
            raise _no_manifest(f"its format_version is {line_of(repr(version))}")
        if version > FORMAT_VERSION:  # before its digest, which a newer format may state otherwise
            raise BundleError(
                f"{MANIFEST} has format_version {version}; this pe_deploy reads {FORMAT_VERSION}, "
                "the bundle needs a newer one"
            )
        if not own_digest_holds(data):
            raise BundleError(
                f"{MANIFEST} was changed after it was published: its SHA-256 is not the "
                f"{OWN_DIGEST} at its end"
            )
        try:
            return cls(**_fields(values))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{MANIFEST} is malformed: {line_of(error)}") from error


def _no_manifest(why: str) -> BundleError:
    return BundleError(f"{MANIFEST} was changed after it was published, or never was one: {why}")


def _tensors(signature: Signature) -> dict[str, Any]:
    """The model's input and output, for readers that know no `Signature`."""
    return {
        "inputs": {INPUT_IDS: {"dtype": "int64", "axes": list(signature.input_axes)}},
        "outputs": {LOGITS: {"dtype": "float32", "axes": list(signature.output_axes)}},
    }


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `Manifest`, each of its stated type throughout."""
    del values[OWN_DIGEST]
    check_fields(values)
    given = dict(values["signature"])
    tensors = {name: given.pop(name) for name in ("inputs", "outputs")}
    signature = Signature.from_dict(given)
    if not strict_json.same(tensors, _tensors(signature)):
        raise ValueError(f"inputs and outputs are {line_of(tensors)}, which is not its signature")
    if (text := values.get("text")) is not None:
        from pe_deploy.text.spec import TextSpec  # few apps need it

        values["text"] = TextSpec.from_dict(text)
    if "compact" in values:
        values["compact"] = Compact(**values["compact"])
    return {
        **values,
        "signature": signature,
        "labels": tuple(values["labels"]),
        "dispatch": Dispatch(**values["dispatch"]),
        "files": {name: FileRecord(**record) for name, record in values["files"].items()},
    }
