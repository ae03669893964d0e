"""What a model is inside, how it is trained, and where it is to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pe_deploy.config import LARGEST_SIZE, Config, Signature
from pe_deploy.errors import InvalidInputError


@dataclass(frozen=True)
class ModelConfig(Config):
    """Sizes of a sequence classifier.

    `num_classes=1` is a binary model with one logit a row. `pad_id=None` means that every
    position counts; with a `pad_id`, rows are right-padded with it and the padding is ignored.
    `dropout` acts between GRU layers while training.

    Raises:
        InvalidInputError: a size is not a whole number of at least 1, `pad_id` is not in the
            vocabulary, or `dropout` is not in [0, 1).

    >>> ModelConfig(vocab_size=20, max_length=12, pad_id=0).signature.to_dict()
    {'vocab_size': 20, 'max_length': 12, 'num_classes': 1, 'pad_id': 0}
    """

    vocab_size: int
    max_length: int
    embedding_dim: int = 16
    hidden_dim: int = 32
    num_layers: int = 2
    num_classes: int = 1
    pad_id: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "hidden_dim"):
            self.check_int(name, 1, LARGEST_SIZE)
        self.check_int("num_layers", 1, 1000)
        self.check_float("dropout", 0.0, 1.0)
        _ = self.signature  # checks the other sizes

    @property
    def signature(self) -> Signature:
        """The part of the config that callers see."""
        return Signature(self.vocab_size, self.max_length, self.num_classes, self.pad_id)


@dataclass(frozen=True)
class TrainedFrom:
    """Where the torch module that a bundle was made from is to be had again.

    Attributes:
        place: a checkpoint, or weights of the notebook's architecture; or `model.py:NAME`.
        weights: of a checkpoint folder "best" or "last"; of a module the file with its weights,
            None where NAME brings its own.
        arguments: `key=value` each, for the class or the function that NAME is.
        is_module: whether `place` is `model.py:NAME`.
    """

    place: str
    weights: str | None = None
    arguments: tuple[str, ...] = ()
    is_module: bool = False


def trained_from(
    checkpoint: str | Path | None,
    module: str | None,
    weights: str | None,
    arguments: Sequence[str] = (),
) -> TrainedFrom | None:
    """What the options `--checkpoint`, `--module`, `--weights` and `--arg` say; None if nothing.

    Raises:
        InvalidInputError: they do not go together.
    """
    if checkpoint is not None and module is not None:
        raise InvalidInputError("--checkpoint and --module name two sources; give one of them")
    if module is not None:
        return TrainedFrom(module, weights, tuple(arguments), is_module=True)
    if arguments:
        raise InvalidInputError("--arg is for the NAME of --module")
    if checkpoint is None:
        if weights is not None:
            raise InvalidInputError("--weights is for --checkpoint (best or last) or --module")
        return None
    if weights not in (None, "best", "last"):
        raise InvalidInputError(f"--weights is {weights}; allowed with --checkpoint: best, last")
    return TrainedFrom(str(checkpoint), weights or "best")


Schedule = Literal["constant", "cosine"]
"""How the learning rate goes on; see `pe_deploy.training.schedule`."""


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained; the defaults are the notebook's.

    `shuffle` draws a new order of the rows each epoch (the notebook keeps one order).
    `validation_fraction` is the share of the rows held back, stratified by label, where the data
    brings no validation rows of its own. `update_gate_bias` is added to the bias with which each
    update gate begins: a new GRU then keeps its state for longer, and learns what spans tens of
    ids in fewer epochs (Tallec and Ollivier 2018, "Can recurrent neural networks warp time?").

    The other settings are off by default. `weight_decay` makes of Adam AdamW (Loshchilov and Hutter
    2019, "Decoupled weight decay regularization"). A `schedule` of "cosine" rises to the learning
    rate over the first tenth of the steps and falls to 0. `bucket_by_length` puts rows of about one
    length in a batch, so that short ones cost less. `crop` is the chance that a training row is cut
    to a stretch of itself (of whole words, where texts are read by bytes or characters), `noise`
    the share of its ids that are hidden: each is the id of unknown tokens then, of bytes 0xFE, and
    another of the ids where no tokenizer says which that is.

    Raises:
        InvalidInputError: a value is outside its range.

    >>> TrainConfig(epochs=5).learning_rate
    0.003
    """

    epochs: int = 25
    batch_size: int = 4
    learning_rate: float = 3e-3
    seed: int = 0
    shuffle: bool = False
    validation_fraction: float = 0.2
    update_gate_bias: float = 0.0
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    bucket_by_length: bool = False
    crop: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        self.check_int("epochs", 1)
        self.check_int("batch_size", 1, LARGEST_SIZE)
        self.check_int("seed", 0, 2**63 - 1)
        self.check_float("learning_rate", 0.0, 10.0)
        self.check_float("validation_fraction", 0.0, 1.0)
        self.check_float("update_gate_bias", 0.0, 10.0)
        self.check_float("weight_decay", 0.0, 10.0)
        self.check_float("crop", 0.0, 1.0)
        self.check_float("noise", 0.0, 1.0)
        for name in ("shuffle", "bucket_by_length"):
            if not isinstance(value := getattr(self, name), bool):
                raise InvalidInputError(f"{name} is {value!r}; allowed: true or false")
        if self.schedule not in get_args(Schedule):
            raise InvalidInputError(f"schedule is {self.schedule!r}; allowed: constant, cosine")
        if self.bucket_by_length and not self.shuffle:
            raise InvalidInputError(
                "bucket_by_length is true and shuffle false; allowed: both true, since a batch "
                "has no place in an order of the rows"
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values; those that came later only where they say something."""
        later = ("weight_decay", "schedule", "bucket_by_length", "crop", "noise")
        return {
            name: value
            for name, value in super().to_dict().items()
            if name not in later or value != getattr(TrainConfig, name)
        }
