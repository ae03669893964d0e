"""Run a bundle's C, compiled for this machine: no engine but the model itself."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE, GOLDEN, TEXTS
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import Signature
from pe_deploy.errors import BundleError, PredictionError
from pe_deploy.runtime.classifier import (
    BundleClassifier,
    Run,
    check_threads,
    opened_with,
    to_be_refused,
)
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.runtime.floors import Floors
from pe_deploy.runtime.interpreter_exit import finished_before_exit
from pe_deploy.runtime.native_build import (
    Build,
    check_place,
    compile_bundle,
    open_build,
    publish,
    sources_of,
)
from pe_deploy.runtime.native_engine import BLOCK_ROWS, SHARE_SECONDS, Engine, RefusedError
from pe_deploy.runtime.native_library import Library
from pe_deploy.runtime.replay import replay, replay_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.text.spec import TooLong

_NOT_MEASURED = 64
"""The rows of a share, of a build that does not say how many are worth it."""

_MEASURED_ROWS, _MEASUREMENTS = 64, 20

_MOST_COMPILED = 8
_compiled: dict[tuple[object, ...], Build] = {}
"""What `candidate` compiled last, by what it was made of."""


class NativeClassifier(BundleClassifier):
    """A bundle's C on the bare processor: compiled by `pe-deploy build`, verified, then loaded.

    **A compiled library is code**: it is loaded from the folder that you name and from nowhere
    else, once its digest and what it was made of are found to fit the bundle. That shows damage and
    mix-ups; who can write to the folder can run code as you.

    The golden vectors, and the golden texts of a bundle that takes text, are replayed each time
    that it is opened, in a pickle's reader too. It has the methods, checks and words of
    `OnnxClassifier`; a fork needs nothing opened again.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        build: the folder that `pe-deploy build` made of this bundle on a machine like this one.
        num_threads: threads of one call; by default the processors that this process may use.
        threshold: the probability above which a label is the answer, in place of the one that was
            published.
        public_key: a PEM file; the bundle has to be signed with its private key. The build is not.
        truncation: what becomes of a text that is too long, as of `OnnxClassifier`.

    Raises:
        BundleError: the bundle or the build is incomplete or changed, the bundle is not signed with
            that key, the build is of another bundle or for another machine, or the library does not
            load, is of another model, or answers what it should refuse.
        ParityError: it answers otherwise than was published.
        InvalidInputError: threads outside 1 to 1024, a threshold outside 0 to 1 or of a model that
            has none, or no such truncation.
        MissingDependencyError: the bundle's tokenizer needs `tokenizers`, which is not installed.

    >>> from pe_deploy import NativeClassifier
    >>> classifier = NativeClassifier("models/demo", build="models/demo.build")
    Traceback (most recent call last):
    pe_deploy.errors.BundleError: models/demo.build is no folder; run: pe-deploy build BUNDLE ...
    """

    _guarded = _finished = True
    _replays = True
    _engine_errors: ClassVar[tuple[type[Exception], ...]] = (RefusedError,)

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        build: str | Path | Build,
        num_threads: int | None = None,
        threshold: float | None = None,
        public_key: str | Path | None = None,
        truncation: TooLong | None = None,
    ) -> None:
        check_threads(num_threads)
        evidence = [GOLDEN, TEXTS] if self._replays else []
        opened = opened_with(bundle, evidence, public_key)
        # A copy of this object opens the same folder again, from wherever it then is.
        self._source = build if isinstance(build, Build) else os.path.abspath(build)  # noqa: PTH100
        self._build: Build | None = build if isinstance(build, Build) else open_build(build)
        self._sources = sources_of(opened)
        self._num_threads = num_threads
        self._library: Library | None = None
        if opened.manifest.text is None:
            evidence = evidence[:1]
        super().__init__(opened, evidence, threshold, truncation)

    def _engine_facts(self) -> list[tuple[str, object]]:
        facts: list[tuple[str, object]] = [("threads", self.threads)]
        if self._build is not None and self._library is not None:
            facts += [
                ("runs", self._build),
                ("stack", f"{self._library.constants['stack_bytes']:,} bytes a call"),
                ("engine", f"{self._build.compiler}; {' '.join(self._build.flags)}"),
            ]
        return facts

    @property
    def threads(self) -> int:
        """How many one call uses."""
        return self._num_threads or usable_cpus()

    def close(self) -> None:
        """Give the library and its memory back; see `Classifier.close`."""
        super().close()
        self._library = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_library": None, "_build": None}

    def _load(self) -> Run:
        if self._library is None or self._build is None:  # else in a process that was forked
            self._build, self._library = self._verified()
        shares = self._build.share_rows or _NOT_MEASURED
        engine = Engine(self._library, self.signature, self.threads, shares)
        return finished_before_exit(engine.run)

    def _verified(self) -> tuple[Build, Library]:
        """The build, found to be of this bundle and machine, and its library, which answers so.

        Raises:
            BundleError, ParityError: as when the classifier is opened.
        """
        build = self._build
        if build is None:  # this is a copy
            build = self._source if isinstance(self._source, Build) else open_build(self._source)
        build.check(self.manifest.weights_sha256, self._sources, self._folder)
        library, where = Library(build.library, build.name, str(build)), str(build)
        signature = self.signature
        library.check(signature, len(self.decision.labels), where)
        run = Engine(library, signature, 1, _NOT_MEASURED).run
        _check_guards(run, signature, where)
        if self._replays:
            self._replay(run, where)
        return dataclasses.replace(build, library=b""), library

    def _replay(self, run: Run, where: str) -> None:
        text = self.manifest.text
        files = {**self._models, **({text.file: self._tokenizer} if text and text.file else {})}
        bundle = Bundle(self._folder, self.manifest, files)

        def logits(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            try:
                return run(ids)
            except RefusedError as error:
                raise PredictionError(str(error)) from error

        decide, floors = self.manifest.decision.recorded, Floors.of_summary(self.manifest.parity)
        replay(logits, bundle.golden(), where, decide, floors)
        if text is not None:
            replay_texts(bundle)


def build(
    bundle: str | Path | Bundle,
    output: str | Path | None = None,
    *,
    public_key: str | Path | None = None,
) -> Build:
    """Compile a bundle's C for this machine, prove it, and publish it in a folder of its own.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        output: the folder; by default the bundle's with `.build` at its end, beside it.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Returns:
        The build as `open_build` reads it.

    Raises:
        BundleError: the bundle is changed, not signed with that key, or holds no `model.c`.
        MissingDependencyError: there is no C compiler.
        ExportError: the compiler refuses the source, or the folder is in the bundle or holds
            something else.
        ParityError: what was compiled answers otherwise than was published.
        OSError: the folder cannot be written.
    """
    opened = opened_with(bundle, [C_SOURCE, C_HEADER, GOLDEN, TEXTS], public_key)
    place = build_place(opened.path) if output is None else Path(output)
    check_place(place, opened)
    publish(proved(opened), place, opened)
    return open_build(place)


def proved(bundle: Bundle) -> Build:
    """A bundle's C, compiled, replayed and measured; nothing of it stays on the disk.

    Raises:
        MissingDependencyError, ExportError, BundleError, ParityError: as `build` raises them.
    """
    made = compile_bundle(bundle)
    with NativeClassifier(bundle, build=made, num_threads=1) as classifier:
        return dataclasses.replace(made, share_rows=_measured(classifier, bundle))


def build_place(bundle: Path) -> Path:
    """Where a bundle's build is if nobody says otherwise."""
    named = bundle if bundle.name not in ("", "..") else bundle.resolve()
    return named.with_name(f"{named.name}.build")


class Candidate(NativeClassifier):
    """One that is yet to be proved: it replays nothing, so that a proof can say what is wrong."""

    _replays = False


def candidate(bundle: str | Path | Bundle, *, num_threads: int | None = None) -> Candidate:
    """A classifier on a bundle's C, compiled for a proof: nothing of it stays on the disk.

    The same source is compiled once in a process.

    Raises:
        MissingDependencyError, ExportError: as `build` raises them.
        BundleError: as `NativeClassifier` raises it.
    """
    opened = opened_with(bundle, [C_SOURCE, C_HEADER], None)
    key = (opened.manifest.weights_sha256, *sources_of(opened).values(), os.environ.get("CC"))
    if key not in _compiled:
        while len(_compiled) >= _MOST_COMPILED:
            _compiled.pop(next(iter(_compiled)), None)
        _compiled[key] = compile_bundle(opened)
    return Candidate(opened, build=_compiled[key], num_threads=num_threads)


def _check_guards(run: Run, signature: Signature, where: str) -> None:
    """Try what the C must refuse; so a source shows that was made elsewhere."""
    for ids in to_be_refused(signature):
        try:
            run(np.array([ids], np.int64))
        except RefusedError:
            continue
        raise BundleError(
            f"{where} answers batch 1 × length {len(ids)} that begins with id {ids[0]}: "
            "it has no guards of pe_deploy"
        )


def _measured(classifier: NativeClassifier, bundle: Bundle) -> int:
    """The fewest rows of the longest kind that are worth another thread."""
    ids = max((case.input_ids for case in bundle.golden()), key=lambda ids: ids.shape[1])
    rows = np.resize(ids, (_MEASURED_ROWS, ids.shape[1]))
    fastest = min(_seconds(classifier, rows) for _ in range(_MEASUREMENTS))
    longest = classifier.signature.max_length
    row_seconds: float = fastest / _MEASURED_ROWS * longest / ids.shape[1]
    return BLOCK_ROWS * max(1, round(SHARE_SECONDS / row_seconds / BLOCK_ROWS))


def _seconds(classifier: NativeClassifier, ids: NDArray[np.int64]) -> float:
    started = time.perf_counter()
    classifier.predict_logits(ids)
    return time.perf_counter() - started
