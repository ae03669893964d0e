"""A checkpoint: the folder that training leaves, or a notebook's state_dict in its place.

    config.json              model and training configuration, labels, threshold
    model.safetensors        the weights with the lowest validation loss
    last.safetensors         the weights after the last epoch
    metrics.jsonl            one line an epoch
    positions.npz, .png      the positional table before and after training
    validation.safetensors   the rows that the model was validated on, and the class of each;
                             of a model that was not validated there is none
    texts.json               of a model that takes text: some of those that it was validated on
    vocab.txt, or            likewise: what makes ids of a text, where that needs a file
    tokenizer.json
    resume.safetensors       what it takes to train on from the last epoch

`config.json` is written last and removed first: where it is, the rest is complete and of one run.
It holds the SHA-256 of the weights, of the validation rows, of the tokenizer, and its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from pe_deploy.bundle.describe import sentence, signature_facts
from pe_deploy.config import Decision, Label, Weights
from pe_deploy.data import Dataset
from pe_deploy.errors import CheckpointError, DataError, InvalidInputError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.storage import atomic
from pe_deploy.storage.digest import sha256
from pe_deploy.storage.strict_npz import read_array
from pe_deploy.storage.strict_zip import StrictZip
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.opening import open_tokenizer
from pe_deploy.text.spec import FILES as TOKENIZER_FILES
from pe_deploy.text.spec import TextSpec
from pe_deploy.training import state_dict
from pe_deploy.training.model import GRUClassifier
from pe_deploy.training.renamed import read_notebook
from pe_deploy.training.weight_files import read_weights
from pe_deploy.view import html

CONFIG_FILE = "config.json"
BEST_FILE = "model.safetensors"
LAST_FILE = "last.safetensors"
METRICS_FILE = "metrics.jsonl"
POSITIONS_FILE = "positions.npz"
VALIDATION_FILE = "validation.safetensors"
FORMER_VALIDATION_FILE = "validation.npz"
"""What `VALIDATION_FILE` was at first: still read, and replaced."""

PLOT_FILE = "positions.png"
RESUME_FILE = "resume.safetensors"
TEXTS_FILE = "texts.json"
_OF_TEXT = (TEXTS_FILE, *filter(None, TOKENIZER_FILES.values()))
"""What may be a user's own where no run of training is."""

FILES = (
    CONFIG_FILE,
    BEST_FILE,
    LAST_FILE,
    METRICS_FILE,
    POSITIONS_FILE,
    PLOT_FILE,
    VALIDATION_FILE,
    FORMER_VALIDATION_FILE,
    RESUME_FILE,
    *_OF_TEXT,
)

_OF_A_RUN = (LAST_FILE, METRICS_FILE, RESUME_FILE)
"""What tells a checkpoint from a folder of weights, which has a `config.json` of its own."""

BINARY_THRESHOLD = 0.5

_VALIDATION_TENSORS = ("input_ids", "targets")
_MOST_TEXTS = 512
_LARGEST_VALIDATION = 2**34
"""The most bytes that the arrays of a `validation.npz` may have together."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what its outputs mean.

    Attributes:
        model: in eval mode, float32, on the CPU.
        config: the model's sizes.
        labels: the label of each class; two for a binary model.
        threshold: a binary model answers `labels[1]` where the probability is above it; None for
            a model with a logit for each class.
        validation: the rows that it was validated on; None for a plain state_dict, and where it
            was trained on all rows.
        notes: a line on each thing that was done to read plain weights.
        encoder: what makes ids of texts; None for a model that takes ids alone.
        validation_texts: some of the texts that it was validated on.
    """

    model: GRUClassifier
    config: ModelConfig
    labels: tuple[Label, ...]
    threshold: float | None
    validation: Dataset | None = None
    notes: tuple[str, ...] = ()
    encoder: TextEncoder | None = None
    validation_texts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Checkpoint: {sentence(self.config.signature, self.decision)}; {self._size}>"

    def _repr_html_(self) -> str:
        sizes = ", ".join(f"{name} {value}" for name, value in self.config.to_dict().items())
        validation = "no rows" if self.validation is None else f"{len(self.validation):,} rows"
        return html.page(
            f"Checkpoint of {self._size}",
            html.facts(
                [
                    *signature_facts(self.config.signature, self.decision),
                    ("model", sizes),
                    ("validated on", validation),
                ]
            ),
            *map(html.line, self.notes),
        )

    @property
    def _size(self) -> str:
        return f"{sum(weights.numel() for weights in self.model.parameters()):,} weights"

    @property
    def decision(self) -> Decision:
        """How labels are taken from logits."""
        return Decision(self.labels, self.threshold)


def load_checkpoint(
    path: str | Path, *, weights: Weights = "best", pad_id: int | None = None
) -> Checkpoint:
    """Read a checkpoint folder, or the notebook's weights in any file or folder of weights.

    Of weights, `read_weights` says which files are taken, and `read_notebook` which names. The
    sizes are read off the tensor shapes; they say nothing of labels, which are 0, 1, …, or of
    padding.

    Args:
        path: the folder or the file.
        weights: in a folder, those of the lowest validation loss or those of the last epoch. A
            file holds one set only.
        pad_id: the id that fills short rows, of weights alone; a folder states its own.

    Raises:
        CheckpointError: something is missing, damaged, or does not fit; the file and the tensor
            are named.
        InvalidInputError: `weights` is neither "best" nor "last", or `pad_id` is no id of the
            model, or another than the folder's.

    >>> from pe_deploy.training import load_checkpoint
    >>> checkpoint = load_checkpoint("weights.pt")
    >>> checkpoint.config.hidden_dim, checkpoint.labels
    (32, (0, 1))
    """
    if weights not in get_args(Weights):
        raise InvalidInputError(f"weights is {weights!r}; allowed: 'best' or 'last'")
    path = Path(path)
    if is_run(path):
        trained = _load_folder(path, weights)
        if pad_id not in (None, trained.config.pad_id):
            raise InvalidInputError(
                f"pad_id is {pad_id}; allowed: {trained.config.pad_id}, with which {path} was made"
            )
        return trained
    config, read = read_notebook(read_weights(path))
    config = replace(config, pad_id=pad_id)
    model = state_dict.build_model(read.path, config, read.state)
    decision = decision_of(config, tuple(range(config.signature.num_labels)))
    return Checkpoint(model, config, decision.labels, decision.threshold, notes=read.notes)


def is_run(path: Path) -> bool:
    """Whether a run of training left this folder, and not weights alone."""
    return any((path / name).exists() for name in _OF_A_RUN)


def decision_of(config: ModelConfig, labels: tuple[Label, ...]) -> Decision:
    """By a threshold of 0.5 for a binary model; of a logit for each class, the largest."""
    return Decision(labels, BINARY_THRESHOLD if config.num_classes == 1 else None)


def save_validation(folder: Path, rows: Dataset) -> None:
    """Write `validation.safetensors`: int64 `input_ids` `[rows, length]` and `targets` `[rows]`."""
    tensors = {name: torch.from_numpy(getattr(rows, name)) for name in _VALIDATION_TENSORS}
    atomic.write_bytes(folder / VALIDATION_FILE, state_dict.tensors_to_bytes(tensors))


def _validation_of(
    path: Path, data: bytes, labels: tuple[Label, ...], pad_id: int | None
) -> Dataset:
    try:
        if path.name == FORMER_VALIDATION_FILE:
            # Not np.load, which raises nearly any error for a hostile file, and takes what it says.
            archive = StrictZip(data, path.name, _LARGEST_VALIDATION)
            ids, targets = (read_array(archive, f"{name}.npy") for name in _VALIDATION_TENSORS)
        else:
            tensors, _ = state_dict.tensors_from_bytes(path, data)
            ids, targets = (tensors[name].numpy() for name in _VALIDATION_TENSORS)
        return Dataset(ids, targets, labels, pad_id)
    except (ValueError, DataError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the rows of a validation: {error}") from error


def save_text(folder: Path, encoder: TextEncoder, validation_texts: Sequence[str]) -> None:
    """Write `texts.json`, up to 512 texts, and the file of the tokenizer, where it has one."""
    some = {"texts": list(validation_texts[:_MOST_TEXTS])}
    atomic.write_bytes(folder / TEXTS_FILE, _json(some))
    if encoder.spec.file is not None:
        atomic.write_bytes(folder / encoder.spec.file, encoder.tokenizer.data)


def write_config(
    folder: Path,
    model_config: ModelConfig,
    train_config: TrainConfig,
    labels: tuple[Label, ...],
    *,
    validated: bool = True,
    encoder: TextEncoder | None = None,
) -> None:
    """Write `config.json`, which completes a checkpoint: every other file is there already."""
    names = [BEST_FILE, LAST_FILE]
    if validated:
        names.append(VALIDATION_FILE)
    text = {}
    if encoder is not None:
        names += [TEXTS_FILE, *filter(None, [encoder.spec.file])]
        text = {"text": encoder.spec.to_dict()}
    content = {
        "model": model_config.to_dict(),
        "training": train_config.to_dict(),
        "labels": list(labels),
        "threshold": decision_of(model_config, labels).threshold,
        **text,
        "files": {name: sha256(state_dict.read_bytes(folder / name)) for name in names},
    }
    atomic.write_bytes(folder / CONFIG_FILE, config_to_bytes(content))


def config_to_bytes(content: Mapping[str, Any]) -> bytes:
    """The bytes of a `config.json` of this content, with the SHA-256 of what they are without."""
    return _json({**content, "sha256": sha256(_json(content))})


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="surrogatepass")


def check_replaceable(folder: Path) -> None:
    """Check that training may use `folder`: it is new, or nothing but a checkpoint's files.

    Raises:
        CheckpointError: naming what else is there.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; allowed: a folder for the checkpoint")
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        known = FILES if is_run(folder) else tuple(name for name in FILES if name not in _OF_TEXT)
        names = (path.with_name(name) for name in FILES)
        if path.name not in known and not any(atomic.is_temporary(path, own) for own in names):
            raise CheckpointError(
                f"{folder}: holds {path.name!r}, which is not of a checkpoint; "
                "allowed: a new folder, an empty one, or a checkpoint to replace"
            )


def remove_results(folder: Path) -> None:
    """Remove everything but the state to resume from, and what a killed run left half-written."""
    for name in FILES:
        if name != RESUME_FILE:
            (folder / name).unlink(missing_ok=True)
        atomic.remove_stale(folder / name)


def _load_folder(folder: Path, weights: Weights) -> Checkpoint:
    config_file = folder / CONFIG_FILE
    if not config_file.exists() and (folder / RESUME_FILE).exists():
        raise CheckpointError(f"{folder}: training has not finished here; resume it first")
    data = state_dict.read_bytes(config_file)
    try:
        content = json.loads(data)
        config = ModelConfig.from_dict(content["model"])
        decision = Decision(tuple(content["labels"]), content["threshold"])
        decision.check(config.signature)
        spec = TextSpec.from_dict(content["text"]) if "text" in content else None
        digests = {**content["files"]}
        undigested = {key: value for key, value in content.items() if key != "sha256"}
        if data != config_to_bytes(undigested):
            raise _changed(config_file)
    except KeyError as error:
        raise CheckpointError(f"{config_file}: field {error} is missing") from error
    except (InvalidInputError, TypeError) as error:
        raise CheckpointError(f"{config_file}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{config_file}: not readable as JSON: {error}") from error

    def read(name: str) -> bytes:
        data = state_dict.read_bytes(folder / name)
        if sha256(data) != digests.get(name):
            raise _changed(folder / name)
        return data

    weights_file = folder / (BEST_FILE if weights == "best" else LAST_FILE)
    state = state_dict.tensors_from_bytes(weights_file, read(weights_file.name))[0]
    model = state_dict.build_model(weights_file, config, state)
    validation = None
    for rows_file in (folder / VALIDATION_FILE, folder / FORMER_VALIDATION_FILE):
        if rows_file.name in digests:
            rows = read(rows_file.name)
            validation = _validation_of(rows_file, rows, decision.labels, config.pad_id)
    trained = Checkpoint(model, config, decision.labels, decision.threshold, validation)
    if spec is None:
        return trained
    own = b"" if spec.file is None else read(spec.file)
    try:
        tokenizer = open_tokenizer(spec, own)
        encoder = TextEncoder(tokenizer, config.signature, spec.truncation)
    except ValueError as error:
        raise CheckpointError(f"{folder / (spec.file or CONFIG_FILE)}: {error}") from error
    texts = _texts_of(folder / TEXTS_FILE, read(TEXTS_FILE))
    return replace(trained, encoder=encoder, validation_texts=texts)


def _texts_of(path: Path, data: bytes) -> tuple[str, ...]:
    try:
        texts = json.loads(data)["texts"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a list of texts: {error!r}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"{path}: not a list of texts")
    return tuple(texts)


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} was changed after it was written: its SHA-256 is not the one in {CONFIG_FILE}"
    )
