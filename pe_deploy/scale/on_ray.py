"""Files answered by Ray Data: a row a file, and actors that hold the classifier."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from pe_deploy.errors import DataError, line_of, requires_extra
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.scale.one_file import File, FileScorer, Outcome, counted, outcome_table
from pe_deploy.scale.quiet import silenced

_ADDRESS = "RAY_ADDRESS"
_CPUS_AN_ACTOR = 0.5
"""With a whole processor each, actors leave none for Ray's own tasks, which then never run."""
_STORE_BYTES = 100 << 20  # of the object store, which holds names of files and what became of them


def run(
    scorer: FileScorer,
    files: list[File],
    jobs: int | None,
    note: Callable[[str], None],
    share: Callable[[str, float], None],
) -> Iterator[Outcome]:
    """What becomes of each file, as it is done.

    Raises:
        MissingDependencyError: Ray is not installed.
        DataError: Ray does not start, or stops.
    """
    _quiet_start()
    with requires_extra("ray"):
        import ray
        import ray.data
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _connected(ray) as where:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        actors = min(len(files), jobs or max(1, cpus))
        threads = counted(scorer.classifier.threads, "thread")
        note(
            f"Ray on {where}, {cpus} CPU: {counted(actors, 'actor')} of {_CPUS_AN_ACTOR} CPU, "
            f"{threads} each"
        )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # A block a file: no task of Ray's has to cut them, and none waits for a processor.
        rows = [pa.table({"file": pa.array([pickle.dumps(file)], pa.binary())}) for file in files]
        # This process owns the one copy that each actor reads, also one that begins anew.
        held = ray.put(scorer)
        outcomes = ray.data.from_arrow(rows).map_batches(
            ScoreFiles,
            fn_constructor_args=([held],),
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=_CPUS_AN_ACTOR,
            # It begins with one, so that a cluster without room for all is no reason to wait.
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        )
        try:
            for batch in outcomes.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for row in batch.to_pylist():
                    yield Outcome(**row)
        except ray.exceptions.RayError as error:
            raise DataError(f"Ray stopped: {line_of(error)}") from error


class ScoreFiles:
    """What an actor does: it holds the classifier, and answers the files it is given."""

    def __init__(self, held: list[Any]) -> None:
        import ray

        self._scorer: FileScorer = ray.get(held[0])

    def __call__(self, table: Any) -> Any:
        """A row for each file, of what became of it."""
        files = [pickle.loads(row) for row in table["file"].to_pylist()]
        return outcome_table([self._scorer(file) for file in files])


def _quiet_start() -> None:
    """What Ray reads before it is imported or started: it says nothing, here and to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


@contextmanager
def _connected(ray: Any) -> Iterator[str]:
    """The cluster that the environment names; else one of this machine alone, gone afterwards."""
    folder = None
    if ray.is_initialized():
        yield "the cluster of this process"
        return
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    address = os.environ.get(_ADDRESS)
    if not address:
        # Its sockets lie below, and their paths may have some hundred characters only.
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.name == "posix" else None)
        options |= {
            "address": "local",
            "num_cpus": usable_cpus(),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": folder,
        }
    try:
        try:
            with silenced():
                ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise DataError(f"Ray does not start: {line_of(error)}") from error
        yield address or "this machine"
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
