"""Files answered by Spark: a row a file, through `mapInArrow`."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from typing import Any

from pe_deploy.errors import DataError, MissingDependencyError, line_of, requires_extra
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.scale.one_file import File, FileScorer, Outcome, counted, outcome_table
from pe_deploy.scale.quiet import silenced

_OUTCOME = "name string, rows long, errors long, cut long, failure string"
_ATTEMPTS = 4  # of a file whose worker was lost, as clusters have it
_LOOK_AGAIN = 0.2  # seconds
_QUIET = """
rootLogger.level = off
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %m%n
"""


def run(
    scorer: FileScorer,
    files: list[File],
    jobs: int | None,
    note: Callable[[str], None],
    share: Callable[[str, float], None],
) -> Iterator[Outcome]:
    """What becomes of each file, when all are done.

    Raises:
        MissingDependencyError: pyspark or Java is not installed.
        DataError: Spark does not start, or stops.
    """
    with requires_extra("spark"):
        # pyspark 4 says of each pandas 3 that it may not work; nothing here is of pandas.
        warnings.filterwarnings("ignore", "PySpark does not yet fully", FutureWarning)
        import pyspark.errors
        from pyspark.sql import SparkSession
    with _session(SparkSession, min(len(files), jobs or usable_cpus())) as (spark, where):
        tasks, threads = counted(len(files), "task"), scorer.classifier.threads
        note(f"Spark on {where}: {tasks}, {counted(threads, 'thread')} each")
        # A partition a file, of its number alone: nothing has to be moved between workers.
        numbers = spark.range(0, len(files), 1, len(files))
        answered = numbers.mapInArrow(Answering(scorer, files), _OUTCOME)
        with ThreadPoolExecutor(1) as pool:
            collected = pool.submit(answered.collect)
            try:
                while True:  # so that Ctrl-C is heard: nothing hears it inside Java
                    with suppress(NotYet):
                        found = collected.result(_LOOK_AGAIN)
                        break
            except (pyspark.errors.PySparkException, OSError) as error:
                raise DataError(f"Spark stopped: {line_of(error)}") from error
            except BaseException:
                spark.stop()
                raise
        for row in found:
            yield Outcome(**row.asDict())


class Answering:
    """From batches of files' numbers to batches of what became of them; it goes to workers."""

    def __init__(self, scorer: FileScorer, files: list[File]) -> None:
        self._scorer = pickle.dumps(scorer)
        self._files = files

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """A batch for each."""
        scorer = None
        for batch in batches:
            for number in batch.column(0).to_pylist():
                scorer = scorer or pickle.loads(self._scorer)
                yield from outcome_table([scorer(self._files[number])]).to_batches()


@contextmanager
def _session(builder_of: Any, jobs: int) -> Iterator[tuple[Any, str]]:
    """The session of this process, or of the cluster that the environment names, or a local one."""
    active = builder_of.getActiveSession()
    if active is not None:
        yield active, "the session of this process"
        return
    remote = os.environ.get("SPARK_REMOTE")
    named = remote or os.environ.get("MASTER") or _submitted()
    builder = builder_of.builder.appName("pe-deploy predict")
    folder = tempfile.mkdtemp(prefix="pe_deploy-spark-")
    kept = dict(os.environ)
    try:
        if not named:
            if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
                raise MissingDependencyError(
                    "java is not installed; run: apt-get install default-jre-headless", name="java"
                )
            builder = builder.master(f"local[{jobs},{_ATTEMPTS}]")
            builder = _local(builder, folder)
        elif not remote:
            builder = builder.config("spark.ui.showConsoleProgress", "false")
        try:
            with silenced():
                spark = builder.getOrCreate()
        except Exception as error:
            raise DataError(f"Spark does not start: {line_of(error)}") from error
        try:
            yield spark, named or f"this machine, {jobs} at once"
        finally:
            with suppress(Exception):  # it may have been stopped, or be lost
                spark.stop()
    finally:
        os.environ.clear()
        os.environ.update(kept)
        shutil.rmtree(folder, ignore_errors=True)


def _submitted() -> str | None:
    """The master that spark-submit, or the defaults of this installation, name."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        return str(SparkContext._active_spark_context.master)
    return "spark-submit" if "PYSPARK_GATEWAY_PORT" in os.environ else None


def _local(builder: Any, folder: str) -> Any:
    """A session of this machine alone: its Python, loopback, no page, no words, no traces."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    log = os.path.join(folder, "log4j2.properties")  # noqa: PTH118
    with open(log, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(_QUIET)
    java = f"-Dlog4j2.configurationFile=file:{log} -Djava.io.tmpdir={folder}"
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": java,
        "spark.local.dir": folder,
        "spark.sql.warehouse.dir": os.path.join(folder, "warehouse"),  # noqa: PTH118
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.faulthandler.enabled": "false",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder
