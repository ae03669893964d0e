"""Its own tanh, sigmoid and root, and models whose numbers are large, tiny, or many."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pe_deploy.export.c.source import to_c
from pe_deploy.parity import random_ids
from tests.export.c.assembled import Assembled
from tests.export.c.library import Graph, Library
from tests.export.c.test_files import published
from tests.export.c.test_models import LAYERS, PLAIN
from tests.export.c.test_refused import SIGNATURE, Made
from tests.needs import need

need("cc")

# Every so many floats, and the special ones: none may be far off, beyond its range, or lose a NaN.
SWEEP = r"""
#include "model.c"
#include <math.h>
#include <stdio.h>
#include <string.h>

static float of_bits(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }

static int is_wrong(float x, float tanh_x, float sigmoid_x) {
    if (isnan(x)) return !isnan(tanh_x) || !isnan(sigmoid_x) || !isnan(root(x));
    const double z = (double)x, exact = sqrt(z);
    if (!(fabs((double)tanh_x - tanh(z)) <= 4e-7) || fabsf(tanh_x) > 1.0f) return 1;
    if (!(fabs((double)sigmoid_x - 1 / (1 + exp(-z))) <= 2e-7)) return 1;
    if (sigmoid_x < 0.0f || sigmoid_x > 1.0f) return 1;
    return x < 0.0f ? !isnan(root(x)) : root(x) != (float)exact;
}

int main(void) {
    static const uint32_t special[] = {0, 0x80000000u, 1, 0x80000001u, 0x7f800000u, 0xff800000u,
        0x7fc00000u, 0x7f7fffffu, 0xff7fffffu, 0x41105000u, 0x41105eb8u, 0xc1105eb8u, 0x800000u};
    const uint64_t count = sizeof special / sizeof special[0];
    for (uint64_t at = 0; at < count + (UINT64_C(1) << 32) / 4099; at += LANES) {
        float x[LANES], t[LANES], s[LANES];
        for (uint64_t i = 0; i < LANES; i++)
            x[i] = of_bits(at + i < count ? special[at + i] : (uint32_t)((at + i - count) * 4099));
        STORE(t, tanh_of(LOAD(x)));
        STORE(s, sigmoid_of(LOAD(x)));
        for (int i = 0; i < LANES; i++)
            if (is_wrong(x[i], t[i], s[i])) return printf("%.9g %.9g %.9g\n", x[i], t[i], s[i]), 1;
    }
    return 0;
}
"""


@pytest.mark.parametrize("flags", [["-march=native", "-ffp-contract=fast"], ["-DMODEL_NO_VECTORS"]])
def test_functions_are_as_exact_as_they_say(tmp_path: Path, flags: list[str]) -> None:
    made = Made()
    scaled = made("LayerNormalization", made.rows, made.numbers(np.ones(4)), axis=-1)
    model = made.model(made("Tanh", made("Sigmoid", scaled)))
    files = to_c(onnx.shape_inference.infer_shapes(model), SIGNATURE, "abcd")
    (tmp_path / "model.c").write_text(files.source)
    (tmp_path / "model.h").write_text(files.header)
    (tmp_path / "sweep.c").write_text(SWEEP)
    program = tmp_path / "sweep"
    command = ["cc", "-O2", *flags, "-w", "-o", str(program), str(tmp_path / "sweep.c"), "-lm"]
    subprocess.run(command, check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_large_and_tiny_weights(tmp_path: Path) -> None:
    """It is about as near to float64 as onnxruntime is."""
    long = replace(LAYERS, max_length=70, poolings=("sum", "mean", "last"))
    plans = {
        "saturated": (replace(PLAIN, poolings=("mean", "max")), 30.0),
        "tiny": (replace(PLAIN, poolings=("mean", "max")), 1e-3),
        "growing": (replace(long, kinds=("relu RNN",)), 0.5),
        "large": (long, 8.0),
    }
    graphs = {name: Graph.planned(*plan) for name, plan in plans.items()}
    library = Library(tmp_path, graphs)
    rng = np.random.default_rng(0)
    for name, graph in graphs.items():
        ids = random_ids(graph.signature, 40, graph.signature.max_length, rng)
        with torch.no_grad():
            exact = Assembled(*plans[name]).eval().double()(torch.from_numpy(ids)).numpy()
        off, usual = (
            float(np.abs(logits - exact).max())
            for logits in (library.logits(name, ids), graph.expected(ids))
        )
        assert off <= 4 * usual + 1e-6 * float(np.abs(exact).max()), (name, off, usual)


def test_threads_that_call_it_at_once_get_the_same_bits(
    tmp_path: Path, padded_bundle: Path
) -> None:
    graph = published(padded_bundle)
    library = Library(tmp_path, {"it": graph})
    ids = random_ids(graph.signature, 300, graph.signature.max_length, np.random.default_rng(3))
    expected = library.logits("it", ids)
    begin, found = threading.Barrier(8), {}

    def ask(number: int) -> None:
        begin.wait()
        found[number] = [library.logits("it", ids) for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(expected, each) for every in found.values() for each in every)
