"""A trained model with the methods of a bundle's classifiers, before there is a bundle."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.config import Weights
from pe_deploy.runtime.classifier import Classifier, Run, in_chunks
from pe_deploy.training.checkpoint import Checkpoint, load_checkpoint


class EagerClassifier(Classifier):
    """A checkpoint's model as torch runs it: the same input, errors and answers as in an app.

    Torch's own threads do not survive a fork, and what waits for them hangs: where the parent has
    computed with more than one, call `torch.set_num_threads(1)` in the child, or spawn it.

    Args:
        checkpoint: what `load_checkpoint` gave, or a path that it takes. The model is copied:
            training it further does not change this classifier.
        weights: where a path is given, which weights of a checkpoint folder.
        threshold: the probability above which a binary model answers `labels[1]`, in place of the
            checkpoint's.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        InvalidInputError: a threshold outside 0 to 1, or of a model with classes.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path,
        *,
        weights: Weights = "best",
        threshold: float | None = None,
    ) -> None:
        loaded = (
            checkpoint
            if isinstance(checkpoint, Checkpoint)
            else load_checkpoint(checkpoint, weights=weights)
        )
        super().__init__(loaded.config.signature, loaded.decision, threshold, loaded.encoder)
        self.config = loaded.config
        self._model = copy.deepcopy(loaded.model).eval().requires_grad_(False)

    def _engine_facts(self) -> list[tuple[str, object]]:
        sizes = ", ".join(f"{name} {value}" for name, value in self.config.to_dict().items())
        threads = f"{torch.get_num_threads()}, torch's own"
        return [("model", sizes), ("threads", threads), ("engine", f"torch {torch.__version__}")]

    def _open(self) -> Run:
        model = self._model

        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            with torch.inference_mode():
                # A copy: torch takes no array of negative strides, and warns of one that it must
                # not write to.
                logits: NDArray[np.float32] = model(torch.from_numpy(ids.copy("C"))).numpy()
            return logits

        return in_chunks(run)
