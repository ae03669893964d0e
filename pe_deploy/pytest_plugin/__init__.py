"""A pytest plugin: `pytest --pe-bundle models/demo` adds one test a group of parity cells.

pytest imports this module in every run of every project beside which pe_deploy is installed, so
it imports nothing but pytest, the standard library and our errors until a bundle is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.errors import PeDeployError

_WITHOUT_TORCH = "no torch: ONNX against its golden vectors and itself"


class BundleNode(pytest.Collector):
    """The tests of one bundle, under its path as it was given."""

    def collect(self) -> Iterator[pytest.Item]:
        """The tests; a bundle that does not open has one, which says so."""
        from pe_deploy.bundle.bundle import open_bundle
        from pe_deploy.model_config import trained_from
        from pe_deploy.pytest_plugin.evidence import Evidence

        options = ("pe_checkpoint", "pe_module", "pe_weights", "pe_arg")
        try:
            trained = trained_from(*map(self.config.getoption, options))
            evidence = Evidence(open_bundle(self.name), trained)
        except PeDeployError as error:
            yield ParityItem.from_parent(self, name="opens", proof=partial(_fail, error))
            return
        yield ParityItem.from_parent(self, name="opens", proof=evidence.load)
        for group in evidence.groups():
            proof = partial(evidence.prove, group)
            yield ParityItem.from_parent(self, name=str(group), proof=proof)


class ParityItem(pytest.Item):
    """A test that passes where its `proof` does; a failure is told in its own words."""

    def __init__(self, *, proof: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._proof = proof

    def runtest(self) -> None:
        """Measure and judge.

        Raises:
            AssertionError: a model is not the one that was trained.
            PeDeployError: the bundle does not open, or a model does not load.
        """
        self._proof()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """The message of what was raised on purpose; a traceback of anything else."""
        if isinstance(excinfo.value, AssertionError | PeDeployError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the test is from, and its heading."""
        return self.path, None, self.nodeid


def _fail(error: PeDeployError) -> None:
    raise error


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
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
    group.addoption(
        "--pe-module",
        metavar="MODEL.PY:NAME",
        help="The module that the one --pe-bundle was made from, which is run as you: the same.",
    )
    group.addoption(
        "--pe-weights",
        metavar="PATH",
        help="The file with the weights of --pe-module; best or last of a --pe-checkpoint folder.",
    )
    group.addoption(
        "--pe-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="For the class or function that --pe-module names; may be repeated.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a checkpoint or a module that is not of one bundle."""
    bundles = config.getoption("pe_bundle")
    for option in ("checkpoint", "module"):
        if config.getoption(f"pe_{option}") and len(bundles) != 1:
            raise pytest.UsageError(f"--pe-{option} needs one --pe-bundle; given: {len(bundles)}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is proved, and what is not without torch."""
    bundles = config.getoption("pe_bundle")
    if not bundles:
        return None
    header = f"pe_deploy: {', '.join(bundles)}"
    return header if find_spec("torch") else f"{header} ({_WITHOUT_TORCH})"


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
