"""A pytest plugin: `pytest --pe-bundle models/demo` adds one test a group of parity cells.

pytest imports this module in every run of every project beside which pe_deploy is installed, so
it imports nothing but pytest and the standard library itself until a bundle is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from pe_deploy.bundle import Bundle
    from pe_deploy.parity import Predictor, Report

AGAINST_REFERENCE = ("shapes", "tokens", "positions")
"""The checks that hold engines against exact torch, or against the first of them."""


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

    Without torch there is the ONNX model alone, held against its golden vectors and itself.

    Args:
        bundle: the bundle, open.
        checkpoint: the weights it was made from, to judge by exact torch; needs the train extra.
    """

    def __init__(self, bundle: Bundle, checkpoint: Path | None) -> None:
        from pe_deploy.bundle import ONNX, THROUGHPUT, TORCHSCRIPT

        self._bundle = bundle
        self._checkpoint = checkpoint
        self._golden = bundle.golden()
        self._predictors: dict[str, Predictor] = {}
        self._exact: Predictor | None = None
        self._reports: dict[tuple[str, int | None, str | None], Report] = {}
        self.engines = ["eager"] if checkpoint else []
        if TORCHSCRIPT in bundle.files and find_spec("torch") is not None:
            self.engines.append("torchscript")
        graphs = {"onnx": ONNX, "throughput": THROUGHPUT}
        self.engines += [engine for engine, name in graphs.items() if name in bundle.files]
        # Without exact torch the first engine is the reference, and not held against itself.
        self.judged = self.engines if checkpoint else self.engines[1:]

    def groups(self) -> Iterator[Group]:
        """What there is to test, in the order of the engines and the checks."""
        from pe_deploy.parity.cases import BATCHES

        signature = self._bundle.manifest.signature
        for engine in self.engines:
            yield Group(engine, "golden")
            if engine in self.judged:
                for batch in BATCHES:
                    yield Group(engine, "shapes", batch)
                yield Group(engine, "tokens")
            if signature.pad_id is not None:
                yield Group(engine, "padding")
            yield Group(engine, "batches")
            if engine in self.judged and signature.max_length > 1:
                yield Group(engine, "positions")
            if any(case.labels is not None for case in self._golden):
                yield Group(engine, "decisions")

    def load(self) -> None:
        """Load every engine, once.

        Raises:
            PeDeployError: a model does not load, or torch is missing where it is needed.
        """
        from pe_deploy.errors import MissingDependencyError, requires_extra

        if self._predictors:
            return
        loaded: dict[str, Predictor] = {}
        if self._checkpoint:
            with requires_extra("train"):
                from pe_deploy.export.trained import trained_predictors

                loaded["eager"], self._exact = trained_predictors(self._bundle, self._checkpoint)
        if "torchscript" in self.engines:
            from pe_deploy.runtime.torchscript import TorchScriptClassifier

            loaded["torchscript"] = TorchScriptClassifier(self._bundle).predict_logits
        if "onnx" in self.engines:
            from pe_deploy.runtime import onnx_predictors

            loaded |= onnx_predictors(self._bundle)
        if not loaded:
            raise MissingDependencyError(
                f"{self._bundle.path} holds TorchScript alone and torch is not installed; "
                "run: pip install 'pe-deploy[train]'"
            )
        self._predictors = loaded

    def failure(self, group: Group) -> str:
        """What is wrong in a group, for a person; empty where nothing is."""
        import dataclasses

        from pe_deploy.parity.assertion import explain

        report = self._report(group)
        # What is left beside the engine's own is a reference that gives no answer itself.
        others = set(self.judged) - {group.engine}
        mine = dataclasses.replace(
            report,
            cells=tuple(cell for cell in report.cells if cell.predictor not in others),
            smallest=tuple(found for found in report.smallest if found[0].predictor not in others),
        )
        return explain(mine, str(self._bundle.path))

    def _report(self, group: Group) -> Report:
        from pe_deploy.parity import published_floor, verify

        self.load()
        together = group.check in AGAINST_REFERENCE
        part = (group.check, group.batch, None if together else group.engine)
        if part not in self._reports:
            manifest = self._bundle.manifest
            self._reports[part] = verify(
                self._predictors if together else {group.engine: self._predictors[group.engine]},
                manifest.signature,
                self._golden,
                exact=self._exact,
                floor_from="eager",
                decision=manifest.decision,
                # A part of the cases may by chance show less of torch's own error than the whole.
                floor=0.0 if group.check == "golden" else published_floor(manifest),
                checks=[group.check],
                batches=[] if group.batch is None else [group.batch],
            )
        return self._reports[part]


class BundleNode(pytest.Collector):
    """The tests of one bundle, under its path as it was given."""

    def collect(self) -> Iterator[pytest.Item]:
        """The tests; a bundle that does not open has one, which says so."""
        from pe_deploy.bundle import open_bundle
        from pe_deploy.errors import PeDeployError

        checkpoint = self.config.getoption("pe_checkpoint")
        try:
            evidence = Evidence(open_bundle(self.name), Path(checkpoint) if checkpoint else None)
        except PeDeployError as error:
            yield OpensItem.from_parent(self, name="opens", evidence=None, error=error)
            return
        yield OpensItem.from_parent(self, name="opens", evidence=evidence, error=None)
        for group in evidence.groups():
            yield GroupItem.from_parent(self, name=str(group), evidence=evidence, group=group)


class ParityItem(pytest.Item):
    """A test whose failure is told in its own words, without a traceback."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """The message of what was raised on purpose; a traceback of anything else."""
        from pe_deploy.errors import PeDeployError

        if isinstance(excinfo.value, PeDeployError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the test is from, and its heading."""
        return self.path, None, self.nodeid


class OpensItem(ParityItem):
    """Whether the bundle is whole, and its models load."""

    def __init__(self, *, evidence: Evidence | None, error: Exception | None, **kwargs: Any):
        super().__init__(**kwargs)
        self._evidence = evidence
        self._error = error

    def runtest(self) -> None:
        """Load every model.

        Raises:
            PeDeployError: the bundle does not open, or a model does not load.
        """
        if self._error is not None:
            raise self._error
        if self._evidence is not None:
            with _one_torch_thread():
                self._evidence.load()


class GroupItem(ParityItem):
    """One group of cells."""

    def __init__(self, *, evidence: Evidence, group: Group, **kwargs: Any):
        super().__init__(**kwargs)
        self._evidence = evidence
        self._group = group

    def runtest(self) -> None:
        """Measure and judge.

        Raises:
            ParityError: the model is not the one that was trained.
        """
        from pe_deploy.errors import ParityError

        with _one_torch_thread():
            text = self._evidence.failure(self._group)
        if text:
            raise ParityError(text)


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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the two options."""
    group = parser.getgroup("pe_deploy", "proof of pe_deploy bundles")
    group.addoption(
        "--pe-bundle",
        action="append",
        default=[],
        metavar="PATH",
        help="Test that this bundle computes what was trained; may be repeated. With '=', since "
        "pytest looks for its settings near a path that stands alone.",
    )
    group.addoption(
        "--pe-checkpoint",
        metavar="PATH",
        help="The weights that the one --pe-bundle was made from: adds eager and exact torch.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a checkpoint that is not of one bundle."""
    bundles = config.getoption("pe_bundle")
    if config.getoption("pe_checkpoint") and len(bundles) != 1:
        raise pytest.UsageError(f"--pe-checkpoint needs one --pe-bundle; given: {len(bundles)}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is proved, and what is not without torch."""
    bundles = config.getoption("pe_bundle")
    if not bundles:
        return None
    without = (
        "" if find_spec("torch") else " (no torch: ONNX against its golden vectors and itself)"
    )
    return f"pe_deploy: {', '.join(bundles)}{without}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the tests: here, so that a folder without test files has some, and before `-k` picks."""
    root = session.config.rootpath
    for given in dict.fromkeys(map(Path, session.config.getoption("pe_bundle"))):
        path = given.absolute()
        # As pytest's own ids: from its root, where the bundle is inside it.
        nodeid = (path.relative_to(root) if path.is_relative_to(root) else given).as_posix()
        node = BundleNode.from_parent(session, name=str(given), path=path, nodeid=nodeid)
        items.extend(node.collect())
