"""The C compiler of this machine: which there is, and what it makes of a model's C."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pe_deploy.errors import ExportError, MissingDependencyError, line_of
from pe_deploy.machine import processor_features

FLAGS = ("-std=c11", "-O3", "-ffp-contract=fast", "-fPIC", "-shared")
"""Those of every build; one of `_NATIVE` goes with them where the compiler knows it."""

_NATIVE = (("-march=native",), ("-mcpu=native",), ())
_USUAL = ("cc", "gcc", "clang")
_INSTALL = "install one (as by: apt-get install gcc), or name it in the environment variable CC"


class Compiler(NamedTuple):
    """A C compiler.

    Attributes:
        command: the program and what stands before every argument.
        version: the first line that it says of itself.
    """

    command: tuple[str, ...]
    version: str


class Compiled(NamedTuple):
    """A shared library, and how it was made.

    Attributes:
        library: its bytes.
        flags: that the compiler was given.
        features: what the processor has to have beside the least of its kind, in Linux's words.
    """

    library: bytes
    flags: tuple[str, ...]
    features: tuple[str, ...]


def compiler() -> Compiler:
    """The C compiler: the one that the environment's CC names, else `cc`, `gcc` or `clang`.

    Raises:
        MissingDependencyError: there is none, or it does not run.
    """
    given = os.environ.get("CC", "").strip()
    try:
        commands = [shlex.split(given)] if given else [[name] for name in _USUAL]
    except ValueError:
        commands = [[given]]
    for command in commands:
        if shutil.which(command[0]) and (version := _version(command)):
            return Compiler(tuple(command), version)
    if given:
        raise MissingDependencyError(f"CC is {given!r}, which is no compiler here; {_INSTALL}")
    raise MissingDependencyError(f"no C compiler is here ({', '.join(_USUAL)}); {_INSTALL}")


def compile_library(by: Compiler, files: Mapping[str, bytes], source: str, where: str) -> Compiled:
    """Compile one of some files, which may include the others, for this very processor.

    Nothing is left of it on the disk, whatever ends it.

    Args:
        by: the compiler.
        files: their bytes by name.
        source: the name of the one to compile.
        where: what to call it in an error.

    Raises:
        ExportError: the compiler refuses it.
    """
    # Also what the compiler itself leaves for a moment lies in this folder.
    with tempfile.TemporaryDirectory(prefix="pe_deploy-") as place:
        folder = Path(place)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (folder / "empty.c").touch()
        for native in _NATIVE:
            flags = (*FLAGS, *native)
            known = _run([*by.command, *flags, "-dM", "-E", "empty.c"], folder)
            if known.returncode == 0:
                break
        done = _run([*by.command, *flags, "-o", "library", source], folder)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            why = next((line for line in said if "error" in line), said[0] if said else "")
            raise ExportError(
                f"{where}: {by.version} does not compile it: "
                f"{line_of(why) or f'exit code {done.returncode}'}"
            )
        library = (folder / "library").read_bytes()
    return Compiled(library, flags, _features(known.stdout))


def _version(command: Sequence[str]) -> str:
    """The first line that a compiler says of itself; empty where it does not run."""
    try:
        done = _run([*command, "--version"], Path(tempfile.gettempdir()))
    except OSError:
        return ""
    said = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return line_of(said[0]) if said else ""


def _features(macros: str) -> tuple[str, ...]:
    """What the compiler may use that not every processor has, by the macros that it defines."""
    defined = re.findall(r"^#define __(?:ARM_FEATURE_)?(\w+?)(?:__)? ", macros, flags=re.M)
    used = {name.lower().replace("_", "") for name in defined}
    return tuple(sorted(name for name in processor_features() if name.replace("_", "") in used))


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with every process that it starts; all end with this call."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate()
    finally:
        if process.returncode is None:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out, err)
