"""`model.c` as other people compile it: no warning, the published answers, nothing out of bounds.

By gcc and clang, with vectors and without; on this processor, on ARM (emulated), and as WebAssembly
in Node: of committed bundles that hold C.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import open_bundle
from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.errors import PredictionError
from pe_deploy.runtime.classifier import to_be_refused
from pe_deploy.runtime.floors import Floors
from pe_deploy.runtime.replay import replay
from tests.clients.c_programs import SANITIZED, Source, answers, emulator, fuzzed
from tests.conftest import MADE
from tests.needs import need

ROOT = Path(__file__).parents[2]
# A compiler takes seconds for each: elsewhere than in .ci/run, the smallest stands for all.
IN_CI = os.environ.get("CI") == "true"
NAMES = ("c_plain", "c_padded", "c_tokens", "c_words") if IN_CI else ("c_plain",)

Command = list[str | Path]


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(MADE / request.param)


@pytest.fixture
def source(bundle: Bundle, tmp_path: Path) -> Source:
    return Source.of(bundle, tmp_path / "program of mine")


def check(bundle: Bundle, command: Sequence[str | Path]) -> None:
    """A program answers the golden vectors, and refuses what the model cannot take."""
    signature, golden = bundle.manifest.signature, bundle.golden()
    bad = [np.array([ids], np.int64) for ids in to_be_refused(signature)]
    bad += [np.ones((2, 0), np.int64), np.full((20, signature.max_length), 2**40)]
    empty = np.ones((0, signature.max_length), np.int64)
    *given, none = answers(command, [*(case.input_ids for case in golden), *bad, empty])
    assert (none.code, len(none.numbers)) == (0, 0)
    refused = given[len(golden) :]
    assert len(refused) == len(bad)
    assert all(answer.code for answer in refused)
    known = {case.input_ids.tobytes(): it for case, it in zip(golden, given, strict=False)}

    def predict(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        code, numbers = known[ids.tobytes()]
        if code:
            raise PredictionError(f"code {code}")
        return signature.zero_padding(numbers.reshape(signature.output_shape(*ids.shape)), ids)

    floors = Floors.of_summary(bundle.manifest.parity)
    replay(predict, golden, "the program", bundle.manifest.decision.recorded, floors)


VECTORS = pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "plain"])


def flags_of(source: Source, vectors: bool) -> list[str]:
    return [] if vectors else [source.without_vectors()]


@VECTORS
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_this_processor(bundle: Bundle, source: Source, compiler: str, vectors: bool) -> None:
    need(compiler)
    for optimised in (["-O2"], ["-O3", "-march=native", "-ffp-contract=fast"]):
        flags = [*flags_of(source, vectors), *optimised]
        check(bundle, [source.compiled(compiler, flags, "replay.c")])


@VECTORS
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_call_takes_no_more_stack_than_is_stated(
    bundle: Bundle, source: Source, compiler: str, vectors: bool
) -> None:
    need(compiler)
    stated = re.findall(r"_STACK_BYTES (\d+)", bundle.read(C_HEADER).decode())
    flags = ["-O3", "-march=native", "-fstack-usage", "-c", *flags_of(source, vectors)]
    source.compiled(compiler, flags)
    taken = source.folder.joinpath("program.su").read_text().splitlines()
    assert sum(int(line.split("\t")[1]) for line in taken) <= int(*stated)


@VECTORS
def test_arm(bundle: Bundle, source: Source, vectors: bool) -> None:
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    flags = [*flags_of(source, vectors), "-O2", "-static"]
    check(bundle, [emulator(), source.compiled("aarch64-linux-gnu-gcc", flags, "replay.c")])


@VECTORS
def test_webassembly(bundle: Bundle, source: Source, vectors: bool) -> None:
    need("clang", "wasm-ld", "node")
    simd = ["-msimd128"] if vectors else []
    check(bundle, source.to_wasm([*flags_of(source, vectors), *simd, "-O3"]))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_its_own_main_reads_lines_of_ids(bundle: Bundle, source: Source, compiler: str) -> None:
    need(compiler)
    ids = bundle.golden()[0].input_ids[:3]
    lines = "".join(" ".join(map(str, row)) + "\n" for row in ids.tolist())
    ask = partial(source.lines, compiler, ["-O1"])
    done = ask(lines)
    assert (done.returncode, done.stderr) == (0, "")
    printed = np.array([line.split() for line in done.stdout.splitlines()], np.float64)
    signature = bundle.manifest.signature
    given = printed.reshape(signature.output_shape(*ids.shape))
    exact = bundle.golden()[0].float64[:3]
    np.testing.assert_allclose(signature.zero_padding(given, ids), exact, atol=1e-4)
    done = ask(f"{signature.vocab_size}\n")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@VECTORS
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_input_makes_it_read_or_write_out_of_bounds(
    bundle: Bundle, source: Source, compiler: str, vectors: bool
) -> None:
    need(compiler)
    flags = [*flags_of(source, vectors), *SANITIZED]
    is_large = len(bundle.read(C_SOURCE)) > 50_000
    tried = 2000 if is_large else 20_000  # a second or two; fuzz_c.py searches on
    told = fuzzed(source.compiled(compiler, flags, "fuzz.c"), seed=1, inputs=tried)
    inputs, answered, refused = (int(word) for word in told.split() if word.isdigit())
    assert inputs == tried
    assert min(answered, refused) > tried / 10


FAULTS = {
    "at < rows * length;": ("at <= rows * length;", "AddressSanitizer"),
    ">= 12)": ("> 12)", "answered: |insufficient space|AddressSanitizer"),
    "if (wrong != 0)": (
        "if (wrong != 0 && (*(float *)logits = 1) > 0)",
        "written to, and refused",
    ),
    "/= (float)length": ("/= (float)(length + rows % 2)", "another answer alone"),
}


@pytest.mark.parametrize("good", FAULTS)
def test_the_search_finds_what_is_planted(tmp_path: Path, good: str) -> None:
    need("gcc")
    source = Source.of(open_bundle(MADE / "c_plain"), tmp_path / "program")
    path = source.folder / C_SOURCE
    bad, sees = FAULTS[good]
    assert good in path.read_text()
    path.write_text(path.read_text().replace(good, bad))
    program = source.compiled("gcc", SANITIZED, "fuzz.c")
    with pytest.raises(AssertionError, match=sees):
        fuzzed(program, seed=1, inputs=5000)


def test_the_page_about_c_says_what_is_so(tmp_path: Path) -> None:
    need("cc")
    page = (ROOT / "docs" / "c.md").read_text()
    shutil.copytree(MADE / "c_plain", tmp_path / "models" / "mine")
    (snippet,) = re.findall(r"```c\n(.*?)```", page, flags=re.S)
    (tmp_path / "mine.c").write_text(snippet)
    lines = "".join(re.findall(r"```bash\n(.*?)```", page, flags=re.S)).splitlines()
    commands = [line for line in lines if not line.startswith("pe-deploy")]
    assert len(commands) == 3
    script = "\n".join(["set -e", commands[0], "./mine", *commands[1:]])
    done = subprocess.run(
        script, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, _, alone = map(float, done.stdout.split())
    assert first == pytest.approx(alone, rel=1e-4)
