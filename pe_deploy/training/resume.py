"""Where a run stands after an epoch, in one file, so that it goes on as if never stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from pe_deploy.data import Dataset
from pe_deploy.errors import CheckpointError
from pe_deploy.model_config import ModelConfig, TrainConfig
from pe_deploy.storage.digest import sha256
from pe_deploy.training.epoch import EpochMetrics, best_of
from pe_deploy.training.model import GRUClassifier
from pe_deploy.training.sources import Prepared
from pe_deploy.training.state_dict import State, read_bytes, tensors_from_bytes, tensors_to_bytes

Identity = dict[str, Any]
"""What has to stay the same for a run to be the same run, by the names that errors show."""

_METADATA = "pe_deploy"  # one key: safetensors does not promise an order for several
_NO_DIGEST = "0" * 64  # in place of the file's own SHA-256 while that is computed


@dataclass
class RunState:
    """A run after its latest epoch.

    Attributes:
        metrics: of every epoch so far.
        weights: after the latest epoch.
        best: the weights with the lowest validation loss so far.
        optimizer: Adam's moments and step counts, by `"<parameter number>.<name>"`.
        rng: state of torch's global generator, which dropout draws from.
        initial_positions: the positional table before training.
    """

    metrics: list[EpochMetrics]
    weights: State
    best: State
    optimizer: State
    rng: Tensor
    initial_positions: Tensor

    @classmethod
    def before(cls, model: GRUClassifier) -> RunState:
        """A run that is about to begin."""
        table = model.pos_encoder.positional_encoding.weight.detach().clone()
        return cls([], {}, {}, {}, torch.get_rng_state(), table)

    def add(self, metrics: EpochMetrics, model: GRUClassifier, optimizer: Optimizer) -> None:
        """Take in one more epoch."""
        self.metrics.append(metrics)
        self.weights = model.state_dict()
        if best_of(self.metrics) is metrics:
            # A copy: the tensors of a state_dict change as training goes on.
            self.best = {key: tensor.clone() for key, tensor in self.weights.items()}
        self.optimizer = _optimizer_tensors(optimizer)
        self.rng = torch.get_rng_state()


def identity_of(model_config: ModelConfig, train_config: TrainConfig, given: Prepared) -> Identity:
    """Everything that decides the outcome of an epoch.

    How many epochs follow does not, but where the learning rate falls until the last of them.
    """
    settings = {**model_config.to_dict(), **train_config.to_dict()}
    if train_config.schedule == "constant":
        del settings["epochs"]
    if given.encoder is not None:
        text = json.dumps([given.encoder.spec.to_dict(), given.validation_texts])
        settings["tokenizer and texts"] = sha256(text.encode() + given.encoder.tokenizer.data)[:16]
    return {
        **settings,
        "labels": list(given.rows.labels),
        "training rows": _digest(given.rows),
        "validation rows": None if given.validation is None else _digest(given.validation),
    }


def run_to_bytes(state: RunState, identity: Identity) -> bytes:
    """The bytes of the file to resume from, which hold their own SHA-256."""
    record = {
        "sha256": _NO_DIGEST,
        "identity": identity,
        "metrics": [dataclasses.asdict(metrics) for metrics in state.metrics],
    }
    groups = {"weights": state.weights, "best": state.best, "optimizer": state.optimizer}
    tensors = {f"{group}/{key}": value for group in groups for key, value in groups[group].items()}
    tensors["rng"] = state.rng
    tensors["initial_positions"] = state.initial_positions
    data = tensors_to_bytes(tensors, {_METADATA: json.dumps(record)})
    return _with_digest(data, _NO_DIGEST, sha256(data))


def load_run(
    path: Path, identity: Identity, model: GRUClassifier, optimizer: Optimizer
) -> RunState:
    """Put model, optimizer and torch's generator back to where the run of `identity` stood.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is of another run; the first
            setting that differs is named.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file, so there is nothing to resume")
    data = read_bytes(path)
    tensors, metadata = tensors_from_bytes(path, data)
    try:
        record = json.loads(metadata[_METADATA])
        digest = record["sha256"]
        if sha256(_with_digest(data, digest, _NO_DIGEST)) != digest:
            raise CheckpointError(
                f"{path} was changed after it was written: its SHA-256 is not the one it states"
            )
        _check_identity(path, record["identity"], identity)
        state = RunState(
            metrics=[EpochMetrics(**line) for line in record["metrics"]],
            weights=_group(tensors, "weights/"),
            best=_group(tensors, "best/"),
            optimizer=_group(tensors, "optimizer/"),
            rng=tensors["rng"],
            initial_positions=tensors["initial_positions"],
        )
        model.load_state_dict(state.weights)
        _restore_optimizer(optimizer, state.optimizer)
        torch.set_rng_state(state.rng)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not the state of a run: {error!r}") from error
    return state


def _with_digest(data: bytes, old: str, new: str) -> bytes:
    # The record begins with it, and a file begins with the record.
    return data.replace(old.encode(), new.encode(), 1)


def _optimizer_tensors(optimizer: Optimizer) -> State:
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": tensor
        for number, tensors in state.items()
        for name, tensor in tensors.items()
    }


def _restore_optimizer(optimizer: Optimizer, tensors: State) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_identity(path: Path, saved: Identity, current: Identity) -> None:
    # A setting that is not stated, or that a former version did not know, is at its default.
    defaults = dataclasses.asdict(TrainConfig())
    began, now = {**defaults, **saved}, {**defaults, **current}
    for field in now:
        if began.get(field) != now[field]:
            raise CheckpointError(
                f"{path}: cannot resume with {field} {now[field]!r}; "
                f"the run began with {began.get(field)!r}"
            )


def _group(tensors: State, prefix: str) -> State:
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _digest(rows: Dataset) -> str:
    digest = hashlib.sha256(repr(rows.input_ids.shape).encode())
    for array in (rows.input_ids, rows.targets):
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"
