"""Training a classifier, and reading what training leaves; needs the `train` extra."""

from pe_deploy.errors import requires_extra

with requires_extra("train"):
    from pe_deploy.training.checkpoint import Checkpoint, load_checkpoint
    from pe_deploy.training.eager_classifier import EagerClassifier
    from pe_deploy.training.epoch import EpochMetrics
    from pe_deploy.training.loop import Progress, TrainResult, train
    from pe_deploy.training.model import GRUClassifier, LearnablePositionalEncoding
    from pe_deploy.training.positions import PositionShift, plot_positions
    from pe_deploy.training.threads import torch_threads

__all__ = [
    "Checkpoint",
    "EagerClassifier",
    "EpochMetrics",
    "GRUClassifier",
    "LearnablePositionalEncoding",
    "PositionShift",
    "Progress",
    "TrainResult",
    "load_checkpoint",
    "plot_positions",
    "torch_threads",
    "train",
]
