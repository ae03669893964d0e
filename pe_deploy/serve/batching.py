"""Requests that wait at the same moment are run together, and no request waits for others.

A step of a recurrent network costs little more for some rows than for one, so the rows of several
requests are answered in a fraction of the time. What the event loop has read in one turn is one
batch; where a batch takes longer, it is given to a thread, and what comes in meanwhile is the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pe_deploy.errors import PredictionError
from pe_deploy.serve.model import Model

MOST_TOGETHER = 256
"""Rows of several requests in one batch; a request with more is run alone."""

Ids = NDArray[np.int64]
Logits = NDArray[np.float32]
Waiting = tuple[Ids, "asyncio.Future[Logits]"]


class Batches:
    """The batches of one model, in the one thread of an event loop.

    Args:
        model: that answers.
        pool: the threads for batches that take long.
        lanes: how many of these are under way at once; as one may be a large one, more than one.
    """

    def __init__(self, model: Model, pool: Executor, lanes: int) -> None:
        self._model = model
        self._pool = pool
        self._free = lanes
        self._waiting: list[Waiting] = []
        self._is_due = False

    async def logits(self, input_ids: Ids) -> Logits:
        """The logits of checked ids, `[batch, sequence]`, at least one row.

        Raises:
            PredictionError: as `Classifier.predict_logits` raises it.
            Refusal: the model is not ready.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Logits] = loop.create_future()
        self._waiting.append((input_ids, future))
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._start)
        return await future

    def _start(self) -> None:
        self._is_due = False
        while self._waiting and self._free:
            batch = self._next()
            if self._model.is_quick(sum(len(ids) for ids, _ in batch)):
                _tell(batch, self._answers(batch))
                continue
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._answers, batch)
            running.add_done_callback(partial(self._finished, batch))

    def _finished(
        self, batch: list[Waiting], done: asyncio.Future[list[Logits | BaseException]]
    ) -> None:
        self._free += 1
        _tell(batch, done.result())
        self._start()

    def _next(self) -> list[Waiting]:
        """The first that waits, and all that fit to it: rows of the same length."""
        length, rows = self._waiting[0][0].shape[1], 0
        taken: list[Waiting] = []
        left: list[Waiting] = []
        for waiting in self._waiting:
            ids = waiting[0]
            fits = ids.shape[1] == length and rows + len(ids) <= MOST_TOGETHER
            if fits or not taken:
                taken.append(waiting)
                rows += len(ids)
            else:
                left.append(waiting)
        self._waiting = left
        return taken

    def _answers(self, batch: list[Waiting]) -> list[Logits | BaseException]:
        """What each request of a batch gets; an answer that fails is no other request's fault."""
        requests = [ids for ids, _ in batch]
        if len(requests) == 1:
            return [self._answer(requests[0])]
        together = self._answer(np.concatenate(requests))
        if isinstance(together, PredictionError):
            return [self._answer(ids) for ids in requests]
        if isinstance(together, BaseException):
            return [together] * len(requests)
        return list(np.split(together, np.cumsum([len(ids) for ids in requests])[:-1]))

    def _answer(self, input_ids: Ids) -> Logits | BaseException:
        try:
            return self._model.logits(input_ids)
        except Exception as error:  # noqa: BLE001 (it is raised in the request that it is of)
            return error


def _tell(batch: Sequence[Waiting], answers: Sequence[Logits | BaseException]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():  # the request was given up
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
