"""What the plugin's tests prove: a bundle measured part by part, as its tests ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import NamedTuple

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import MissingDependencyError, requires_extra
from pe_deploy.model_config import TrainedFrom
from pe_deploy.parity import Predictor, Reference, Report, verify_bundle
from pe_deploy.parity.assertion import explain
from pe_deploy.parity.bundle import AGAINST_REFERENCE
from pe_deploy.parity.cases import BATCHES
from pe_deploy.parity.texts import TEXTS
from pe_deploy.runtime.engines import ENGINES, engines_of, predictors

_EAGER = "eager"


class Group(NamedTuple):
    """The cells of one test: those of an engine in a check, of one batch size in `shapes`."""

    engine: str
    check: str
    batch: int | None = None

    def __str__(self) -> str:
        of_batch = "" if self.batch is None else f" batch {self.batch}"
        return f"{self.engine} {self.check}{of_batch}"


class Evidence:
    """Measures a bundle: each part once a session, and only what some test asks for.

    Without torch there are the ONNX graphs alone, held against the golden vectors and themselves.

    Args:
        bundle: the bundle, open.
        trained: where the module it was made from is to be had, to judge by exact torch; needs the
            train extra.

    Raises:
        BundleError: the bundle holds no golden vectors, or they are malformed.
    """

    def __init__(self, bundle: Bundle, trained: TrainedFrom | None) -> None:
        self._bundle = bundle
        self._trained = trained
        self._labelled = any(case.labels is not None for case in bundle.golden())
        self._own = [name for name in engines_of(bundle) if not ENGINES[name].missing]
        self._reports: dict[tuple[str, int | None, str | None], Report] = {}
        # Without exact torch the first engine is the reference, and not held against itself.
        self._judged = [_EAGER, *self._own] if trained else self._own[1:]

    def groups(self) -> Iterator[Group]:
        """What there is to test, in the order of the engines and the checks."""
        signature = self._bundle.manifest.signature
        for engine in self._judged if self._trained else self._own:
            yield Group(engine, "golden")
            if engine in self._judged:
                for batch in BATCHES:
                    yield Group(engine, "shapes", batch)
                yield Group(engine, "tokens")
            if signature.pad_id is not None:
                yield Group(engine, "padding")
            yield Group(engine, "batches")
            if engine in self._judged and signature.max_length > 1:
                yield Group(engine, "positions")
            if self._labelled:
                yield Group(engine, "decisions")
        if self._bundle.manifest.text is not None:
            yield Group("tokenizer", TEXTS)

    def load(self) -> None:
        """Load every engine.

        Raises:
            PeDeployError: a model does not load, or torch is missing where it is needed.
        """
        if not self._own:
            raise MissingDependencyError(
                f"{self._bundle.path} holds TorchScript alone and torch is not installed; "
                "run: pip install 'pe-deploy[train]'"
            )
        with _one_torch_thread():
            _ = self._reference, self._engines

    def prove(self, group: Group) -> None:
        """Measure and judge a group.

        Raises:
            AssertionError: the model is not the one that was trained, in the words of `explain`.
            PeDeployError: as `load`.
        """
        with _one_torch_thread():
            report = self._report(group)
        # What is left beside the engine's own is a reference that gives no answer itself.
        others = {*self._judged} - {group.engine}
        mine = dataclasses.replace(
            report,
            cells=tuple(cell for cell in report.cells if cell.predictor not in others),
            smallest=tuple(found for found in report.smallest if found[0].predictor not in others),
        )
        if text := explain(mine, str(self._bundle.path)):
            raise AssertionError(text)

    @cached_property
    def _engines(self) -> dict[str, Predictor]:
        return predictors(self._bundle, self._own)

    @cached_property
    def _reference(self) -> Reference | None:
        if self._trained is None:
            return None
        with requires_extra("train"):
            from pe_deploy.export.trained import trained_reference
        return trained_reference(self._bundle, self._trained)

    def _report(self, group: Group) -> Report:
        """The report on a group; one of all engines together where they have a reference."""
        reference, engines = self._reference, self._engines
        together = group.check in AGAINST_REFERENCE
        part = (group.check, group.batch, None if together else group.engine)
        if part not in self._reports:
            if group.check == TEXTS:
                reference = None
            elif not together:
                eager = {} if reference is None else {_EAGER: reference.eager}
                reference, engines = None, {group.engine: {**engines, **eager}[group.engine]}
            self._reports[part] = verify_bundle(
                self._bundle,
                reference,
                engines=engines,
                checks=[group.check],
                batches=[] if group.batch is None else [group.batch],
            )
        return self._reports[part]


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch, where there is one, compute on a single thread inside the block."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
