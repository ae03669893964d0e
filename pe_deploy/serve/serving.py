"""What all protocols share in one process: models by name, and readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pe_deploy.runtime.given import shown
from pe_deploy.serve import metrics
from pe_deploy.serve.batching import Batches, Ids, Logits
from pe_deploy.serve.model import Model
from pe_deploy.serve.refusal import Refusal

SERVER = "pe-deploy"

_FEW = 64
"""Rows that are checked, or made from texts, sooner than another thread could take them over."""


class Serving:
    """The models of one process.

    Args:
        models: with names that differ.
        threads: that the models may keep busy.
        others_ready: whether the other processes that answer at the same port are ready.
    """

    def __init__(
        self,
        models: Sequence[Model],
        threads: int,
        others_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.models = {model.name: model for model in models}
        self.stopping = False
        self._others_ready = others_ready
        self._cut = dict.fromkeys(self.models, 0)
        lanes = max(2, threads)
        self._pool = ThreadPoolExecutor(lanes + 1, thread_name_prefix="pe_deploy-serve")
        self._batches = {
            name: Batches(model, self._pool, lanes) for name, model in self.models.items()
        }

    def load(self) -> None:
        """Load every model, one after the other; see `Model.load`."""
        for model in self.models.values():
            model.load()

    @property
    def ready(self) -> bool:
        """Whether every model is, in every process."""
        return all(self.is_ready(model) for model in self.models.values())

    def is_ready(self, model: Model) -> bool:
        """Whether a model is, in every process."""
        return model.ready and not self.stopping and self._others_ready()

    def known(self, name: str) -> str:
        """The name, or "" for one that is not served: who asks may invent as many as he likes."""
        return name if name in self.models else ""

    def model(self, name: str, version: str = "") -> Model:
        """The model of a name, and of a version where one is asked for.

        Raises:
            Refusal: there is none.
        """
        model = self.models.get(name)
        if model is None:
            names = ", ".join(self.models)
            raise Refusal("not_found", f"model is {shown(name)}; served: {names}")
        if version and version != model.version:
            line = f"version of {name} is {shown(version)}; served: {model.version}"
            raise Refusal("not_found", line)
        return model

    def check_open(self) -> None:
        """Check that requests are taken.

        Raises:
            Refusal: the server stops.
        """
        if self.stopping:
            raise Refusal("stopping", "the server stops: it takes no more requests")

    async def answer(self, model: Model, rows: Any) -> tuple[Ids, Logits]:
        """The checked ids of some rows or texts, and their logits.

        Raises:
            InvalidInputError: as `Classifier.predict` raises it.
            PredictionError: likewise.
            Refusal: the model is not ready.
        """
        if len(rows) <= _FEW:
            ids = model.input_ids(rows)
        else:
            loop = asyncio.get_running_loop()
            ids = await loop.run_in_executor(self._pool, model.input_ids, rows)
        # All in the one thread of the event loop, so that no cut is counted twice.
        metrics.count_cut(model.name, model.truncated - self._cut[model.name])
        self._cut[model.name] = model.truncated
        return ids, await self._batches[model.name].logits(ids)
