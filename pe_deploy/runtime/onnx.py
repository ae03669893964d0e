"""Run a bundle's `model.onnx` with numpy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import ONNX, THROUGHPUT, Bundle, GoldenCase, open_bundle
from pe_deploy.config import INPUT_IDS, LOGITS, Signature
from pe_deploy.errors import BundleError, InvalidInputError
from pe_deploy.runtime.bundle_classifier import BundleClassifier
from pe_deploy.runtime.classifier import check_finite
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.runtime.plan import Engine, Form, Lazy, Run
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

CPU = "CPUExecutionProvider"

FORMS: dict[Form, str] = {"latency": ONNX, "throughput": THROUGHPUT}

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by name, or by name with its options."""

_MOST_THREADS = 1024

_INT64 = np.dtype(np.int64)  # of this machine's byte order, and one object for all arrays of it


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
        self_test: replay the bundle's golden vectors first, logits and labels, to see that this
            machine, runtime and provider compute the model that was published.
        public_key: a PEM file; the bundle has to be signed with its private key.
        form: run every batch by one graph, "latency" (`model.onnx`) or "throughput"; by default
            each by the one that is faster.

    Raises:
        BundleError: the bundle is incomplete or changed, not signed with that key, onnxruntime
            does not load its model, or the graph answers what it should refuse.
        ParityError: by its self-test, the model answers otherwise than was published.
        InvalidInputError: a provider that this onnxruntime does not have, threads outside 1 to
            1024, or a form that is none.
    """

    providers: tuple[str, ...]
    """The execution providers that onnxruntime runs the model on, in order."""

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        providers: Sequence[Provider] = (CPU,),
        num_threads: int | None = None,
        self_test: bool = False,
        public_key: str | Path | None = None,
        form: Form | None = None,
    ) -> None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        _check_threads(num_threads)
        _check_providers(providers)
        if form not in (None, *FORMS):
            raise InvalidInputError(f"form is {form!r}; allowed: {', '.join(FORMS)}")
        self._num_threads = num_threads
        self._wanted = list(providers)
        names = FORMS.values() if form is None else [FORMS[form]]
        if form is None:
            names = [name for name in names if name == ONNX or name in opened.files]
        super().__init__(opened, list(names), public_key)
        if self_test:
            self._replay(opened.golden())

    def predict_logits(self, input_ids: Any) -> NDArray[np.float32]:
        """The raw output of the model, every number of it finite.

        Returns:
            float32 `[batch]` for a binary model, else `[batch, num_classes]`.
        """
        engine = self._run
        if (
            isinstance(engine, Engine)
            and type(input_ids) is np.ndarray
            and input_ids.dtype is _INT64
            and input_ids.ndim == 2
            and len(input_ids) > 0
            and input_ids.flags.c_contiguous
        ):
            # The graph itself refuses what is wrong with the ids, as was tried when it was loaded.
            # Where anything fails, the long way finds the words.
            try:
                run = engine.at_once(*input_ids.shape)
                logits = None if run is None else run(input_ids)
            except Exception:  # noqa: BLE001
                return super().predict_logits(input_ids)
            if logits is not None and logits.shape == (len(input_ids), *self._columns):
                check_finite(logits)
                return logits
        return super().predict_logits(input_ids)

    def _replay(self, golden: Sequence[GoldenCase]) -> None:
        """Replay golden vectors by each graph, however many rows it is meant for."""
        from pe_deploy.runtime.floors import Floors  # not at every app's start
        from pe_deploy.runtime.replay import replay

        whole = self._run or self._reopened()
        runs = whole.forms() if isinstance(whole, Engine) else [whole]
        engine = f"onnxruntime {ort.__version__}, {', '.join(self.providers)}"
        for name, run in zip(self._models, runs, strict=False):  # only the first on other providers
            self._run = run
            replay(
                self.predict_logits,
                golden,
                f"{self._path / name} on {engine}",
                self.decision.labels_of,
                Floors.of_summary(self.manifest.parity),
            )
        self._run = whole

    def _parts(
        self, run: Run, ids: NDArray[np.int64]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        return run.each(ids) if isinstance(run, Engine) else super()._parts(run, ids)

    def _load(self) -> Run:
        dispatch = self.manifest.dispatch
        threads = self._num_threads or usable_cpus()
        # None of this holds `self`: an engine that knew its classifier would be freed with it only
        # when the garbage collector next looks for cycles.
        sessions = {
            name: partial(_opened, model, self._path / name, self._wanted, self.signature)
            for name, model in self._models.items()
        }
        if _name(self._wanted[0]) != CPU:
            run, self.providers = next(iter(sessions.values()))(threads)
            return run
        if ONNX not in sessions:
            # One graph and one session: it runs few rows as it runs many.
            sessions = {ONNX: sessions[THROUGHPUT]}
            dispatch = replace(dispatch, own_threads=False)
        own_threads = dispatch.own_threads and threads > 1
        run, self.providers = sessions[ONNX](threads if own_threads else 1)
        few = Lazy(lambda: sessions[ONNX](1)[0] if own_threads else run)
        many = Lazy(lambda: sessions[THROUGHPUT](1)[0]) if THROUGHPUT in sessions else None
        return Engine(run, self.signature.max_length, dispatch, threads, few, many)


def _opened(
    model: bytes, where: Path, wanted: Sequence[Provider], signature: Signature, threads: int
) -> tuple[Run, tuple[str, ...]]:
    """A session's `Run`, and the execution providers that it runs on."""
    try:
        session = ort.InferenceSession(model, session_options(threads), providers=wanted)
    except Exception as error:
        line = " ".join(str(error).split())
        raise BundleError(
            f"{where}: onnxruntime {ort.__version__} does not load it: {line}"
        ) from error
    run, providers = _runner(session), tuple(session.get_providers())
    if providers[0] == CPU:
        _check_guards(run, signature, str(where))
    return run, providers


def _runner(session: ort.InferenceSession) -> Run:
    """A session's `Run`, its names bound once.

    `InferenceSession.run` looks at the names and values anew in each call, for 0.7 µs, before it
    hands them to the session of the C++ binding, which looks at them too; so that one is called
    where it is to be had.
    """
    call = getattr(session, "_sess", session).run
    outputs = [LOGITS]

    def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = call(outputs, {INPUT_IDS: ids}, None)[0]
        return logits

    return run


def _check_guards(run: Run, signature: Signature, where: str) -> None:
    """Try what a graph must refuse and does without harm, if wrongly, where it has no guards.

    So it shows a graph that was made elsewhere; an empty input would end this process there.
    """
    longest, last = signature.max_length, signature.vocab_size - 1
    bad = [[[-1]], [[last + 1]], [[last] * (longest + 1)]]
    if signature.pad_id is not None:
        bad.append([[signature.pad_id]])
    for ids in bad:
        what = f"batch 1 × length {len(ids[0])} that begins with id {ids[0][0]}"
        try:
            run(np.array(ids))
        except Exception as error:
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


def _check_threads(num_threads: int | None) -> None:
    if num_threads is None:
        return
    if type(num_threads) is not int or not 1 <= num_threads <= _MOST_THREADS:
        raise InvalidInputError(f"num_threads is {num_threads!r}; allowed: 1 to {_MOST_THREADS}")


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


def onnx_predictors(bundle: Bundle) -> dict[str, Callable[[NDArray[np.int64]], NDArray[Any]]]:
    """A predictor on one thread for each ONNX graph of a bundle, by what reports call it."""
    forms: dict[str, Form] = {"onnx": "latency", "throughput": "throughput"}
    return {
        name: OnnxClassifier(bundle, num_threads=1, form=form).predict_logits
        for name, form in forms.items()
        if FORMS[form] in bundle.files
    }
