"""A folder of files, each answered into its own: what is to do, and what was done before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pe_deploy.data import Columns
from pe_deploy.data.open_rows import SUFFIXES, is_data
from pe_deploy.data.suffix import suffix_of
from pe_deploy.errors import DataError, InvalidInputError, printable
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.predict_file import OnError
from pe_deploy.scale import on_processes, on_ray, on_spark
from pe_deploy.scale.one_file import File, FileScorer, Outcome
from pe_deploy.scale.places import Entry, Place
from pe_deploy.scale.scorer import digest_of
from pe_deploy.storage.atomic import is_temporary, remove_stale

Engine = Literal["local", "ray", "spark"]

RECORD = ".pe-deploy.json"
"""Says in a folder of answers what gave them, so that those of two models are never mixed."""

_NO_COLUMNS = {".txt": ".csv", ".npy": ".csv", ".txt.gz": ".csv.gz"}
_ENGINES: dict[Engine, Callable[..., Iterator[Outcome]]] = {
    "local": on_processes.run,
    "ray": on_ray.run,
    "spark": on_spark.run,
}
_PATIENCE = 5.0  # seconds, in which a worker that was told to end does


class FolderResult(NamedTuple):
    """What became of the files of a folder.

    Attributes:
        files: how many were answered now.
        rows: of these.
        errors: how many of the rows have no answer.
        cut: how many texts were cut.
        kept: how many files had been answered before.
        failures: a line for each that was not.
        left_out: the names of files that hold no rows, by their suffix.
    """

    files: int
    rows: int
    errors: int
    cut: int
    kept: int
    failures: tuple[str, ...]
    left_out: tuple[str, ...]


def predict_folder(
    classifier: OnnxClassifier,
    source: str | Path,
    output: str | Path,
    *,
    engine: Engine = "local",
    jobs: int | None = None,
    columns: Columns = Columns(),  # noqa: B008 (it is frozen)
    delimiter: str | None = None,
    on_error: OnError = "fail",
    overwrite: bool = False,
    note: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> FolderResult:
    """Answer each file of a folder, and of those in it, into a file of the same name elsewhere.

    A file appears whole or not at all. What an earlier run left is kept, unless its input is newer.

    Args:
        classifier: what answers; it goes to each process with its number of threads.
        source: a folder, or the URI of one.
        output: the folder, or URI, for the answers; one that all workers share.
        engine: what runs it: processes on this machine, Ray, or Spark.
        jobs: how many files at once; by default one a processor.
        columns: as `predict_file` takes them.
        delimiter: likewise.
        on_error: likewise.
        overwrite: remove the answers of an earlier run first.
        note: called with each line that there is to say meanwhile.
        progress: called with the share of the files that is done, 0 to 1.

    Raises:
        DataError: there is no such folder, it holds no rows, it and `output` lie in each other, two
            files would have one output, or `output` holds answers of another bundle or of other
            settings. A file that cannot be answered is no error but one of `failures`.
        InvalidInputError: there is no such engine, or jobs are below 1.
        MissingDependencyError: the engine is not installed.
    """
    if engine not in _ENGINES:
        raise InvalidInputError(f"engine is {engine!r}; allowed: {', '.join(_ENGINES)}")
    if jobs is not None and jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}; allowed: 1 or more")
    note, progress = note or _nothing, progress or _nothing
    given, answers = Place(str(source)), Place(str(output))
    found = _checked(given, answers)
    files, failures, left_out = _planned(found, given, answers)
    for line in failures:
        note(line)
    for name in left_out:
        note(f"{given / name}: left out, as its suffix is none of data; allowed: {SUFFIXES}")
    there = answers.walk() if answers.is_folder() else {}
    settings = _settings(classifier, columns, delimiter, on_error)
    _check_record(answers, settings, files, there, overwrite)
    waiting = [
        file
        for file in files
        if overwrite or not _is_newer(there.get(_output_name(file.name)), found[file.name])
    ]
    if waiting:
        (answers / RECORD).write_bytes(_record_json(settings))
    scorer = FileScorer(classifier, columns, delimiter, on_error)
    outcomes = _run(engine, scorer, waiting, jobs, note, progress)
    failed = [outcome.failure for outcome in outcomes if outcome.failure]
    done = [outcome for outcome in outcomes if not outcome.failure]
    return FolderResult(
        len(done),
        sum(outcome.rows for outcome in done),
        sum(outcome.errors for outcome in done),
        sum(outcome.cut for outcome in done),
        len(files) - len(waiting),
        (*failures, *failed),
        tuple(left_out),
    )


def _checked(source: Place, output: Place) -> dict[str, Entry | None]:
    """The files of the folder, once it is known that answers can go to the other."""
    if not source.is_folder():
        raise DataError(f"{source}: no such folder")
    if output.look() is not None:
        raise DataError(f"{output} is a file; allowed: a folder, as {source} is one")
    if not source.apart_from(output):
        raise DataError(f"{source} and {output} lie in each other; allowed: folders apart")
    return source.walk()


def _planned(
    found: Mapping[str, Entry | None], source: Place, output: Place
) -> tuple[list[File], list[str], list[str]]:
    """The files to answer, a line for each that cannot be, and the names of what is no data."""
    files, failures, left_out = [], [], []
    names: dict[str, str] = {}
    for name, entry in found.items():
        if entry is None:
            failures.append(printable(f"{source / name}: a link that leads nowhere"))
        elif not is_data(Path(name)):
            left_out.append(name)
        else:
            made = _output_name(name)
            if made in names:
                raise DataError(
                    f"{source / names[made]} and {source / name} would both become {made}; "
                    "rename one"
                )
            names[made] = name
            shown = str(source / name)
            files.append(File(name, shown, (source / name).absolute, (output / made).absolute))
    if not files and not failures:
        raise DataError(f"{source} holds no file of rows; allowed: {SUFFIXES}")
    return files, failures, left_out


def _output_name(name: str) -> str:
    """The name itself; of a file without columns, with that of a table behind it."""
    suffix = suffix_of(Path(name))
    if suffix not in _NO_COLUMNS:
        return name
    return f"{name[:-3] if suffix.endswith('.gz') else name}{_NO_COLUMNS[suffix]}"


def _is_newer(answer: Entry | None, source: Entry | None) -> bool:
    return answer is not None and source is not None and answer.changed >= source.changed


def _settings(
    classifier: OnnxClassifier, columns: Columns, delimiter: str | None, on_error: OnError
) -> dict[str, Any]:
    """All that decides what an answer is."""
    return {
        "bundle": digest_of(classifier),
        "threshold": classifier.threshold,
        "truncation": classifier.truncation,
        "ids_column": columns.ids,
        "text_column": columns.text,
        "delimiter": delimiter,
        "on_error": on_error,
    }


def _record_json(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps({"format": 1, **settings}, indent=2) + "\n").encode()


def _check_record(
    output: Place,
    settings: Mapping[str, Any],
    files: list[File],
    there: Mapping[str, Entry | None],
    overwrite: bool,
) -> None:
    """Refuse to add to answers that something else gave, or remove those that are in the way."""
    place = output / RECORD
    record = place.read_bytes()
    planned = [made for file in files if (made := _output_name(file.name)) in there]
    same = record == _record_json(settings)
    others = sorted(set(there) - set(planned)) if record is not None and not same else []
    if overwrite:
        if others:
            raise DataError(
                f"{output / others[0]} is an answer of another run, and no file of this one takes "
                "its place; remove it, or give another folder"
            )
        for made in planned:
            (output / made).remove()
        return
    if same or (not planned and not others):
        return
    if record is None:
        raise DataError(
            f"{output / planned[0]} is there, and nothing says what made it; give another folder, "
            "or --overwrite"
        )
    raise DataError(
        f"{output} holds answers with {_difference(record, settings)}; give another folder, or "
        "--overwrite"
    )


def _difference(record: bytes, settings: Mapping[str, Any]) -> str:
    try:
        old = json.loads(record)
        differing = [name for name in settings if old.get(name) != settings[name]]
    except (ValueError, AttributeError):
        return f"a damaged {RECORD}"
    if not differing:
        return f"another {RECORD}"
    name = differing[0]
    if name == "bundle":
        return "another bundle"
    return f"{name} {str(old.get(name))[:40]}, where this run has {settings[name]}"


def _run(
    engine: Engine,
    scorer: FileScorer,
    files: list[File],
    jobs: int | None,
    note: Callable[[str], None],
    progress: Callable[[float], None],
) -> list[Outcome]:
    if not files:
        return []
    by_name: dict[str, Outcome] = {}
    shares: dict[str, float] = {}

    def share(name: str, done: float) -> None:
        shares[name] = done
        progress(sum(shares.values()) / len(files))

    whole = False
    try:
        for outcome in _ENGINES[engine](scorer, files, jobs, note, share):
            by_name[outcome.name] = outcome
            share(outcome.name, 1.0)
            if outcome.failure:
                note(outcome.failure)
        whole = True
    finally:
        if not whole or engine != "local":
            _remove_temporaries([file.output for file in files])
    outcomes = []
    for file in files:
        seen = by_name.get(file.name)
        if seen is None or (not seen.failure and file.output.look() is None):
            failure = (
                f"{file.shown}: {file.output} is not to be seen from here; allowed: a folder that "
                "all workers share, or a URI"
            )
            note(failure)
            seen = Outcome(file.name, 0, 0, 0, failure)
        outcomes.append(seen)
    return outcomes


def _remove_temporaries(outputs: list[Place]) -> None:
    """Remove what workers left that were ended; they may take a moment to be gone."""
    targets = [place.local for place in outputs if place.local is not None]
    until = time.monotonic() + _PATIENCE
    while True:
        for target in targets:
            remove_stale(target)
        left = any(
            is_temporary(entry, target)
            for target in targets
            if target.parent.is_dir()
            for entry in target.parent.glob(".*")
        )
        if not left or time.monotonic() > until:
            return
        time.sleep(0.1)


def _nothing(_: object) -> None:
    pass
