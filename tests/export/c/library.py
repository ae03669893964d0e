"""Models in C, compiled together into one library, to be asked as ctypes has it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from pe_deploy.config import Label, Signature
from pe_deploy.export.adapt.reading import Stated
from pe_deploy.export.any_module import source_of
from pe_deploy.export.c.source import to_c
from pe_deploy.export.onnx import to_onnx
from pe_deploy.parity import random_ids
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime
from tests.export.c.assembled import Assembled, Plan

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 47, 48, 49, 50, 101)

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Graph:
    """A model as it is published: its graph, what it takes, what its answers are called."""

    def __init__(
        self, model: onnx.ModelProto, signature: Signature, labels: Sequence[Label] = ()
    ) -> None:
        self.model, self.signature = model, signature
        self.labels = labels or range(signature.num_labels)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    @classmethod
    def planned(cls, plan: Plan, scale: float = 1.0) -> Graph:
        """A plan's; what it states is not tried, but where its layers have to be rewritten."""
        module, known = Assembled(plan, scale).eval(), plan.signature
        if not plan.packed:
            return cls(to_onnx(module, known), known)
        names = ("vocab_size", "min_length", "max_length", "pad_id", "task")
        return cls.of(module, **{name: getattr(known, name) for name in names})

    @classmethod
    def of(cls, module: nn.Module, **stated: Any) -> Graph:
        """A module's, with what its user states."""
        source = source_of(module.eval(), Stated(**stated))
        return cls(to_onnx(source.module, source.signature), source.signature)

    def expected(self, ids: Ids) -> Floats:
        """What onnxruntime answers."""
        (logits,) = self.session.run(None, {"input_ids": ids})
        found: Floats = self.signature.zero_padding(logits, ids)
        return found

    def write(self, folder: Path, name: str) -> Path:
        """Its two files; returns the source."""
        made = to_c(self.model, self.signature, self.labels, name)
        (folder / name).mkdir()
        (folder / name / "model.h").write_text(made.header)
        source = folder / name / "model.c"
        source.write_text(made.source)
        return source


class Library:
    """The models of a folder, all in one library."""

    def __init__(self, folder: Path, graphs: Mapping[str, Graph], *flags: str) -> None:
        self.graphs = graphs
        sources = [graph.write(folder, name) for name, graph in graphs.items()]
        path = folder / "together.so"
        command = ["cc", "-O1", *STRICT, *flags, "-fPIC", "-shared", "-o", str(path)]
        done = subprocess.run(
            [*command, *map(str, sources)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
        self.loaded = ctypes.CDLL(str(path))

    def logits(self, name: str, ids: Ids) -> Floats:
        """What a model answers.

        Raises:
            AssertionError: it refuses the ids.
        """
        signature = self.graphs[name].signature
        predict = getattr(self.loaded, f"{name}_predict")
        predict.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
        given = np.full(signature.output_shape(*ids.shape), 7, np.float32)
        assert predict(ids.ctypes.data, *ids.shape, given.ctypes.data) == 0
        found: Floats = signature.zero_padding(given, ids)
        return found

    def compare(self, name: str) -> None:
        """Raise AssertionError unless a model answers as onnxruntime does, in many shapes."""
        graph, rng = self.graphs[name], np.random.default_rng(5)
        shortest, longest = graph.signature.min_length, graph.signature.max_length
        lengths = sorted({shortest, (shortest + longest) // 2, longest})
        for rows in ROWS:
            for length in lengths if rows in (1, 3, 50) else [longest]:
                ids = random_ids(graph.signature, rows, length, rng)
                expected, given = graph.expected(ids), self.logits(name, ids)
                np.testing.assert_allclose(given, expected, 2e-5, 2e-5, err_msg=f"{ids.shape}")
