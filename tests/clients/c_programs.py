"""Programs around a bundle's `model.c`, as other people would write them; each is a command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE
from pe_deploy.bundle.bundle import Bundle
from tests.clients.javascript import PATIENCE

HERE = Path(__file__).parent / "c"

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
WASM = (
    *("--target=wasm32", "-nostdlib", "-ffreestanding", "-fno-builtin", "-Wl,--no-entry"),
    *("-Wl,--export=__heap_base", "-Wl,-z,stack-size=1048576"),
)


class Source(NamedTuple):
    """A bundle's C in a folder, and what its drivers have to know of it."""

    folder: Path
    name: str
    macros: tuple[str, ...]
    outputs: int
    per_token: int

    @classmethod
    def of(cls, bundle: Bundle, folder: Path) -> Source:
        folder.mkdir()
        for each in (C_SOURCE, C_HEADER):
            (folder / each).write_bytes(bundle.read(each))
        header = bundle.read(C_HEADER).decode()
        (name,) = re.findall(r"^int (\w+)_predict\(", header, flags=re.M)
        signature = bundle.manifest.signature
        pad = -1 if signature.pad_id is None else signature.pad_id
        own = name.upper()
        known = ("VOCAB_SIZE", "MIN_LENGTH", "MAX_LENGTH", "OUTPUTS", "PER_TOKEN")
        macros = (
            *(f"-DIT_{each}={own}_{each}" for each in known),
            *(f"-DIT_PAD_ID={pad}", f"-DIT_PREDICT={name}_predict", f"-DIT_MESSAGE={name}_message"),
        )
        return cls(folder, name, macros, signature.num_classes, int(signature.task == "tokens"))

    def without_vectors(self) -> str:
        """What chooses the plain path."""
        return f"-D{self.name.upper()}_NO_VECTORS"

    def compiled(self, compiler: str, flags: Iterable[str], *drivers: str) -> Path:
        """A program of the model and these drivers.

        Raises:
            AssertionError: the compiler says anything at all.
        """
        program = self.folder / "program"
        done = subprocess.run(
            [
                *(compiler, *STRICT, *flags, *self.macros, f"-I{self.folder}"),
                *("-o", str(program), str(self.folder / C_SOURCE)),
                *(str(HERE / driver) for driver in drivers),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
        return program

    def to_wasm(self, flags: Iterable[str]) -> list[str]:
        """A command that answers by WebAssembly in Node."""
        exported = f"-Wl,--export={self.name}_predict"
        program = self.compiled("clang", (*WASM, exported, *flags), "memory.c")
        return [
            *("node", str(HERE / "wasm.mjs"), str(program)),
            *(self.name, str(self.outputs), str(self.per_token)),
        ]

    def lines(
        self, compiler: str, flags: Iterable[str], given: str
    ) -> subprocess.CompletedProcess[str]:
        """What the model's own `main` makes of lines of ids."""
        program = self.compiled(compiler, (f"-D{self.name.upper()}_MAIN", *flags))
        return subprocess.run(
            [program], input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
        )


class Answer(NamedTuple):
    """A code, and the numbers in a row; none where the code is not 0."""

    code: int
    numbers: NDArray[np.float32]


def answers(command: Sequence[str | Path], inputs: Iterable[NDArray[np.int64]]) -> list[Answer]:
    """What a program answers to each input, `[rows, length]`.

    Raises:
        AssertionError: it ended in any way but well.
    """
    given = b"".join(np.array(ids.shape, np.uint64).tobytes() + ids.tobytes() for ids in inputs)
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr[-2000:]
    found, at = [], 0
    while at < len(done.stdout):
        code, count = (int(number) for number in np.frombuffer(done.stdout, np.int64, 2, at))
        found.append(Answer(code, np.frombuffer(done.stdout, np.float32, count, at + 16)))
        at += 16 + 4 * count
    return found


def fuzzed(program: Path, seed: int, inputs: int, patience: float = PATIENCE) -> str:
    """What a driver `fuzz.c` says of so many inputs.

    Raises:
        AssertionError: it, or a sanitizer, found something.
    """
    done = subprocess.run(
        [program, str(seed), str(inputs)],
        # The search for leaks needs what a container may forbid, and the model allocates nothing.
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
    return done.stdout


def emulator() -> str:
    """What runs a program for ARM here."""
    return shutil.which("qemu-aarch64") or "qemu-aarch64"
