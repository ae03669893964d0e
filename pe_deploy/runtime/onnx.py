"""Run a bundle's ONNX graphs with numpy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.manifest import Dispatch
from pe_deploy.config import INPUT_IDS, LOGITS, Signature
from pe_deploy.errors import BundleError, InvalidInputError, line_of
from pe_deploy.runtime import fork
from pe_deploy.runtime.classifier import (
    BundleClassifier,
    Run,
    check_threads,
    in_chunks,
    opened_with,
    to_be_refused,
)
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.runtime.interpreter_exit import finished_before_exit
from pe_deploy.runtime.plan import Form, cut, never_cut, plan
from pe_deploy.runtime.quiet_onnxruntime import ENGINE_ERRORS
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pe_deploy.runtime.thread_pool import ThreadPool
    from pe_deploy.text.spec import TooLong

CPU = "CPUExecutionProvider"

FORMS: dict[Form, str] = {"latency": ONNX, "throughput": THROUGHPUT}

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by name, or by name with its options."""

_KEPT_BYTES = 2**22
"""What a step of a chunk works on at most, as `export.crossover` chooses its rows."""

_OPENING_ERRORS: tuple[type[Exception], ...] = (*ENGINE_ERRORS, RuntimeError, ValueError)
"""What a session raises that does not open; the last two of a provider and its options."""


class OnnxClassifier(BundleClassifier):
    """A bundle's ONNX model on onnxruntime, verified when opened.

    A bundle may hold two graphs of the model: few rows are run by `model.onnx`, and from the
    crossover on, which was measured when the bundle was made, many rows by
    `model.throughput.onnx`. A batch that is worth it is shared out among several threads, and then
    the crossover is that of each share. Both graphs passed the same comparison with torch.

    Args:
        bundle: the bundle's folder, or a `Bundle` that is already open.
        providers: onnxruntime execution providers, in order of preference. With another than the
            processor in front, `model.onnx` runs every batch.
        num_threads: threads of one call; by default the processors that this process may use, by
            its affinity and its container's quota. A copy in another process counts its own.
        threshold: the probability above which a label is the answer, in place of the one that was
            published.
        self_test: replay the bundle's golden vectors first, logits and labels, to see that this
            machine, runtime and provider compute the model that was published.
        public_key: a PEM file; the bundle has to be signed with its private key.
        truncation: what becomes of a text that has more tokens than the model takes: "error", or
            which end of it is cut off, "start" or "end"; by default as the bundle states it.
        form: run every batch by one graph, "latency" (`model.onnx`) or "throughput"; by default
            each by the one that is faster.

    Raises:
        BundleError: the bundle is incomplete or changed, not signed with that key, onnxruntime
            does not load its model, or the graph answers what it should refuse.
        ParityError: by its self-test, the model answers otherwise than was published.
        InvalidInputError: a provider that this onnxruntime does not have, threads outside 1 to
            1024, a threshold outside 0 to 1 or of a model that has none, or no such truncation or
            form.
        MissingDependencyError: the bundle's tokenizer needs `tokenizers`, which is not installed.

    >>> from pe_deploy import OnnxClassifier
    >>> with OnnxClassifier("models/demo", self_test=True) as classifier:
    ...     labels = classifier.predict([[0, 16, 8], [3, 3, 3]])
    >>> labels.shape
    (2,)
    """

    providers: tuple[str, ...]
    """The execution providers that onnxruntime runs the model on, in order."""

    # A graph that is opened when a batch first needs it may turn out not to load.
    _engine_errors = (*ENGINE_ERRORS, BundleError)

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        providers: Sequence[Provider] = (CPU,),
        num_threads: int | None = None,
        threshold: float | None = None,
        self_test: bool = False,
        public_key: str | Path | None = None,
        truncation: TooLong | None = None,
        form: Form | None = None,
    ) -> None:
        check_threads(num_threads)
        _check_providers(providers)
        if form not in (None, *FORMS):
            raise InvalidInputError(f"form is {form!r}; allowed: {', '.join(FORMS)}")
        names = list(FORMS.values()) if form is None else [FORMS[form]]
        opened = opened_with(bundle, names, public_key)
        if form is None and THROUGHPUT not in opened.files:
            names = [ONNX]
        self._num_threads = num_threads
        self._wanted = list(providers)
        super().__init__(opened, names, threshold, truncation)
        if self_test:
            self._replay(opened)

    def _engine_facts(self) -> list[tuple[str, object]]:
        return [
            ("threads", self.threads),
            ("runs", ", ".join(self._models) or "nothing"),
            ("engine", f"onnxruntime {ort.__version__}, {', '.join(self.providers)}"),
        ]

    @property
    def threads(self) -> int:
        """How many one call uses."""
        return self._num_threads or usable_cpus()

    def _replay(self, bundle: Bundle) -> None:
        """Replay golden vectors by each graph alone, however many rows it is meant for."""
        from pe_deploy.runtime.floors import Floors  # not at every app's start
        from pe_deploy.runtime.replay import replay, replay_texts

        golden, floors = bundle.golden(), Floors.of_summary(self.manifest.parity)
        engine = f"onnxruntime {ort.__version__}, {', '.join(self.providers)}"
        decide = self.manifest.decision.recorded
        forms = [form for form, name in FORMS.items() if name in self._models]
        for form in forms if self._guarded else forms[:1]:
            where = f"{self._folder}/{FORMS[form]} on {engine}"
            with OnnxClassifier(
                bundle, providers=self._wanted, num_threads=self._num_threads, form=form
            ) as alone:
                replay(alone.predict_logits, golden, where, decide, floors)
        if self.manifest.text is not None:
            replay_texts(bundle)

    def _load(self) -> Run:
        threads = self.threads
        # None of this holds `self`: an engine that knew its classifier would be freed with it only
        # when the garbage collector next looks for cycles.
        models, folder, wanted, signature = self._models, self._folder, self._wanted, self.signature

        def open_session(form: Form, own_threads: bool) -> tuple[Run, tuple[str, ...]]:
            name = FORMS[form]
            used = threads if own_threads else 1
            return _opened(models[name], f"{folder}/{name}", used, wanted, signature)

        self._guarded = _name(wanted[0]) == CPU
        if not self._guarded:
            run, self.providers = open_session("latency" if ONNX in models else "throughput", True)
            return in_chunks(run)
        dispatch = self.manifest.dispatch
        if ONNX not in models:
            dispatch = dispatch._replace(crossover=1, own_threads=False)
        elif THROUGHPUT not in models:
            dispatch = dispatch._replace(crossover=None)
        engine = _Engine(open_session, dispatch, threads, signature.max_length)
        self.providers = engine.providers
        return engine.run


class _Engine:
    """The sessions of one process, each opened by the first batch that is planned for it."""

    def __init__(
        self,
        open_session: Callable[[Form, bool], tuple[Run, tuple[str, ...]]],
        dispatch: Dispatch,
        threads: int,
        longest: int,
    ) -> None:
        self._open_session = open_session
        self._sessions: dict[tuple[Form, bool], Run] = {}
        self._plan = partial(plan, dispatch=dispatch, threads=threads, longest=longest)
        self._threads = threads
        self._pool: ThreadPool | None = None
        self._never_cut = never_cut(dispatch, longest)
        form, own_threads, _ = self._plan(1, 1)
        self._run_few = self._session(form, own_threads)
        # GNU's C library keeps up to twice as much free memory as the largest array that was ever
        # freed. Else each run may give its memory back to the system, and page faults take up to
        # a seventh of the next. This array is never written to, so it takes no memory itself.
        np.empty(_KEPT_BYTES, np.uint8)

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of checked ids, or of such as the graph itself refuses."""
        if len(ids) < self._never_cut:
            return self._run_few(ids)
        form, own_threads, chunks = self._plan(*ids.shape)
        run = self._session(form, own_threads)
        if chunks == 1:
            return run(ids)
        parts = [ids[part] for part in cut(len(ids), chunks)]
        return np.concatenate(self._ready_pool().map(run, parts, self._threads))

    def _session(self, form: Form, own_threads: bool) -> Run:
        if run := self._sessions.get((form, own_threads)):
            return run
        with fork.OPENING:
            if (form, own_threads) not in self._sessions:
                run, self.providers = self._open_session(form, own_threads)
                self._sessions[form, own_threads] = finished_before_exit(run)
            return self._sessions[form, own_threads]

    def _ready_pool(self) -> ThreadPool:
        if self._pool is None:
            with fork.OPENING:  # a child forked in the middle of an import waits for it for ever
                from pe_deploy.runtime.thread_pool import ThreadPool  # not at every app's start

                self._pool = self._pool or ThreadPool()
        return self._pool


def _opened(
    model: bytes, where: str, threads: int, wanted: Sequence[Provider], signature: Signature
) -> tuple[Run, tuple[str, ...]]:
    """A session's `Run`, and the execution providers that it runs on."""
    try:
        session = ort.InferenceSession(model, session_options(threads), providers=wanted)
    except _OPENING_ERRORS as error:
        raise BundleError(
            f"{where}: onnxruntime {ort.__version__} does not load it: {line_of(error, 1000)}"
        ) from error
    # `InferenceSession.run` looks at the names and values anew in each call, for 0.7 µs, before it
    # hands them to the session of the C++ binding, which looks at them too; so that one is called
    # where it is to be had.
    call = getattr(session, "_sess", session).run
    outputs = [LOGITS]

    def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = call(outputs, {INPUT_IDS: ids}, None)[0]
        return logits

    providers = tuple(session.get_providers())
    if providers[0] == CPU:
        _check_guards(run, signature, where)
    return run, providers


def _check_guards(run: Run, signature: Signature, where: str) -> None:
    """Try what a graph must refuse; so one shows that was made elsewhere."""
    for ids in to_be_refused(signature):
        what = f"batch 1 × length {len(ids)} that begins with id {ids[0]}"
        try:
            run(np.array([ids]))
        except ENGINE_ERRORS as error:
            if "guard_" not in str(error):
                raise BundleError(f"{where} refuses {what}, and not by a guard: {error}") from error
        else:
            raise BundleError(f"{where} answers {what}: it has no guards of pe_deploy")


def _check_providers(providers: Sequence[Provider]) -> None:
    available = ort.get_available_providers()
    names = list(map(_name, providers)) if isinstance(providers, list | tuple) else []
    if not names or any(name not in available for name in names):
        raise InvalidInputError(
            f"providers are {providers!r}; allowed: a list of {', '.join(available)}"
        )


def _name(provider: Provider) -> str:
    return provider[0] if isinstance(provider, tuple) and provider else provider


def session_options(num_threads: int) -> ort.SessionOptions:
    """How a classifier opens each of its sessions."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # The arena never gives back what the largest request took. Without it, the pattern of a shape's
    # memory saves most allocations: each run takes one block, and gives it back.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what goes wrong arrives as an exception, once
    return options
