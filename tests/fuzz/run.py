"""Look for inputs that a reader takes wrongly, guided by coverage; needs `pip install atheris`.

    python tests/fuzz/run.py [--seconds N | --runs N] [--jobs N] [--out FOLDER] [TARGET …]

Prints a table, leaves each finding under the output folder, and exits 1 if there is any. An
exception that may not be raised is noted once for each place that raises it, and the search goes
on; a hang, memory without bounds or a crash ends a target's process, which is then begun anew.
With `--runs` and one seed, a run repeats itself.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
INSTRUMENTED = ("pe_deploy", "zipfile", "json", "csv", "numpy.lib._format_impl")
_LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-max_len=200000")
_MOST_STARTS = 8
_NOTES = (".log", ".txt")
"""Files beside the findings that say more of them."""


@dataclass
class Outcome:
    """What came of a target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    coverage: int = 0
    broken: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=int, help="for each target (60 where neither is given)")
    limit.add_argument("--runs", type=int, help="executions of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; targets: {', '.join(TARGETS)}")
    seconds = None if options.runs else options.seconds or 60
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = [
            pool.submit(_search, name, seconds, options.runs, options.seed, options.out / name)
            for name in options.targets or TARGETS
        ]
        outcomes = [one.result() for one in running]
    return _table(outcomes, options.out)


def _search(name: str, seconds: int | None, runs: int | None, seed: int, out: Path) -> Outcome:
    out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(name)
    begun = time.monotonic()
    for start in range(_MOST_STARTS):
        left = seconds - int(outcome.seconds) if seconds else (runs or 0) - outcome.executions
        if left <= 0:
            break
        how_long = f"-max_total_time={left}" if seconds else f"-runs={left}"
        command = [sys.executable, __file__, "--one", name, str(out)]
        arguments = [how_long, f"-seed={seed + start}", f"-artifact_prefix={out}/", *_LIMITS]
        done = subprocess.run(
            [*command, *arguments, "-print_final_stats=1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONHASHSEED": "0"},  # so that a seed says it all
        )
        counts = re.findall(r"stat::number_of_executed_units: (\d+)", done.stderr)
        reached = re.findall(r"cov: (\d+)", done.stderr)
        outcome.executions += int(counts[-1]) if counts else 0
        outcome.coverage = max(outcome.coverage, *map(int, reached), 0)
        outcome.seconds = time.monotonic() - begun
        if done.returncode == 0:
            break
        (out / f"start-{start}.log").write_text(done.stderr)
        if not any(path.suffix not in _NOTES for path in out.iterdir()):
            # Not of a reader: the search itself failed, or the system ended it.
            outcome.broken = (done.stderr.strip().splitlines() or ["no word"])[-1]
            break
    return outcome


def _table(outcomes: Sequence[Outcome], out: Path) -> int:
    failed = False
    traces: list[str] = []
    lines = [f"{'target':12} {'executions':>10} {'seconds':>8} {'coverage':>8}  findings"]
    for one in outcomes:
        found = sorted(
            path.name for path in (out / one.target).iterdir() if path.suffix not in _NOTES
        )
        failed |= bool(found or one.broken)
        what = one.broken or ", ".join(found) or "none"
        lines.append(
            f"{one.target:12} {one.executions:10} {one.seconds:8.0f} {one.coverage:8}  {what}"
        )
        traces += [
            f"\n{path}\n{path.read_text()}" for path in sorted((out / one.target).glob("*.txt"))
        ]
    sys.stdout.write("\n".join([*lines, *traces]) + "\n")
    return int(failed)


def _fuzz(name: str, out: Path, arguments: list[str]) -> None:
    """One target in this process, which libFuzzer takes over."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        import tests.fuzz.targets as targets
    target = targets.TARGETS[name]
    scratch = tempfile.TemporaryDirectory(prefix="fuzz-")
    seen: set[str] = set()

    def one_input(data: bytes) -> None:
        try:
            target(data, Path(scratch.name))
        except Exception as error:  # noqa: BLE001 - each is a finding
            place = _place(error)
            if place not in seen:
                seen.add(place)
                digest = hashlib.sha256(place.encode()).hexdigest()[:12]
                (out / f"raised-{digest}").write_bytes(data)
                (out / f"raised-{digest}.txt").write_text(
                    "".join(traceback.format_exception(error)), errors="backslashreplace"
                )

    def mutated(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.randrange(3) == 0:
            return bytes(atheris.Mutate(data, largest))
        return target.mutate(data, rng)[:largest]

    seeds = Path(scratch.name) / "seeds"
    seeds.mkdir()
    for label, data in targets.corpus(name):
        (seeds / label).write_bytes(data)
    atheris.Setup([sys.argv[0], *arguments, str(seeds)], one_input, custom_mutator=mutated)
    atheris.Fuzz()


def _place(error: BaseException) -> str:
    """Where an exception comes from: the last line of pe_deploy that it passed, and its kind."""
    while error.__cause__ is not None and type(error).__name__ == "WronglySaidError":
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{frame.filename}:{frame.lineno}" for frame in frames if "pe_deploy" in frame.filename]
    return f"{type(error).__name__} {own[-1] if own else ''}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--one"]:
        _fuzz(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        sys.exit(main())
