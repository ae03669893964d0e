"""What `test_writes_survive.py` runs as a process of its own: writers that are killed or crowded.

    python survival.py SCENE FOLDER [NUMBER]

It imports what a scene needs once, forks every writer from there, and prints what it found as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pe_deploy.bundle.bundle import Bundle, open_bundle, write_bundle
from pe_deploy.errors import BundleError, CheckpointError
from pe_deploy.storage.atomic import publishing

Found = dict[str, Any]
MADE = Path(__file__).parent / "bundles"
NOBODY = 65534
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000  # linux/mount.h


def publish(bundle: Bundle, folder: Path) -> None:
    """The last steps of an export, without the seconds of work before them."""
    with publishing(folder) as staging:
        write_bundle(staging, bundle.manifest, bundle.files)


@contextlib.contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """Run `work` in a process of its own, which is killed at the end of the block."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - printed, as a process that ends would
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def exit_codes(*works: Callable[[], object]) -> list[int]:
    """Run all of them at once, each in a process of its own."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(forked(work)) for work in works]
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def again_and_again(*works: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for one in itertools.cycle(works):
            one()

    return work


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_publishers(place: Path, kills: int, write: tuple[Callable[[Path], None], ...]) -> Found:
    """Kill writers that publish two bundles in turn.

    Every other one at any moment of two publications, the rest while files are being written.
    """
    folder = place / "bundle"
    known = {}
    for index, one in enumerate(write):
        started = time.monotonic()
        one(place / str(index))
        seconds = time.monotonic() - started
        known[open_bundle(place / str(index)).manifest.weights_sha256] = str(index)
    found: Counter[str] = Counter()
    damaged = []
    expected = sorted(["bundle", *known.values()])
    works = [functools.partial(one, folder) for one in reversed(write)]
    for kill in range(kills):
        with forked(again_and_again(*works)):
            if kill % 2:
                time.sleep(random.uniform(0, 2.2 * seconds))
            else:
                while not any(name.startswith(".") for name in names(place)):
                    time.sleep(0.0002)
                time.sleep(random.uniform(0, 0.01))
        found["strays after a kill"] += len(set(names(place)) - set(expected))
        try:
            if folder.exists():
                found[known[open_bundle(folder).manifest.weights_sha256]] += 1
            else:
                found["nothing yet"] += 1
        except (BundleError, KeyError) as error:
            damaged.append(str(error))
        publish(open_bundle(place / "0"), folder)
        if names(place) != expected:
            damaged.append(f"strays after the next run: {names(place)}")
    return {"damaged": damaged, **found}


def killed_publishing(place: Path, kills: int) -> Found:
    bundles = [open_bundle(MADE / name) for name in ("notebook", "padded")]
    writers = tuple(functools.partial(publish, bundle) for bundle in bundles)
    return kill_publishers(place, kills, writers)


def exports() -> tuple[Callable[[Path], None], ...]:
    """Whole exports of two models."""
    import torch

    from pe_deploy import ModelConfig
    from pe_deploy.export import ExportOptions, Source, export_module
    from pe_deploy.training import GRUClassifier

    torch.set_num_threads(1)  # threads do not outlive a fork
    config = ModelConfig(vocab_size=5, max_length=2, embedding_dim=2, hidden_dim=3, num_layers=1)
    options = ExportOptions(crossover=8)  # stated, not measured

    def export(seed: int, folder: Path) -> None:
        torch.manual_seed(seed)
        model = GRUClassifier(config).eval()
        source = Source(model, config.signature, (0, 1), 0.5, config.to_dict())
        export_module(source, folder, options)

    return functools.partial(export, 0), functools.partial(export, 1)


def exporting(place: Path, kills: int) -> Found:
    """Whole exports, killed, and two at once."""
    write = exports()
    (place / "killed").mkdir()
    return kill_publishers(place / "killed", kills, write) | crowd(place / "crowd", 1, write)


def killed_training(place: Path, kills: int) -> Found:
    """Kill runs that begin in a new folder, or over a former run's checkpoint, in turn."""
    import torch

    from pe_deploy.model_config import TrainConfig
    from pe_deploy.training import load_checkpoint, train

    torch.set_num_threads(1)

    def run(folder: Path, seed: int, resume: bool = False) -> None:
        config = TrainConfig(epochs=2, seed=seed)
        train("synthetic", folder, train_config=config, dropout=0.2, resume=resume)

    run(place / "0", 0)
    run(place / "1", 1)
    started = time.monotonic()
    run(place / "2", 1)
    seconds = time.monotonic() - started
    former, whole = contents(place / "0"), contents(place / "1")
    found: Counter[str] = Counter()
    damaged = []
    for kill in range(kills):
        folder = place / f"killed{kill}"
        if kill % 2:
            run(folder, 0)
        with forked(functools.partial(run, folder, 1)):
            time.sleep(random.uniform(0, 1.1 * seconds))
        if folder.exists():
            found["strays after a kill"] += sum(name.startswith(".") for name in names(folder))
        state = _state(folder, load_checkpoint)
        found[state] += 1
        after = contents(folder) if folder.exists() else {}
        results = {name: after.get(name) for name in former if name != "resume.safetensors"}
        finished = [{name: run[name] for name in results} for run in (former, whole)]
        if state == "whole" and results != finished[0] and results != finished[1]:
            damaged.append(f"kill {kill}: a mixture is taken for a checkpoint")
        elif state not in ("whole", "not finished", "nothing yet"):
            damaged.append(f"kill {kill}: {state}")
        try:
            run(folder, 1, resume=True)
            found["resumed"] += 1
        except CheckpointError:  # killed before its first epoch was saved
            run(folder, 1)
            found["begun anew"] += 1
        if contents(folder) != whole:
            damaged.append(f"kill {kill}: other bits, or strays: {names(folder)}")
    return {"damaged": damaged, **found}


def _state(folder: Path, load: Callable[[Path], object]) -> str:
    if not folder.exists() or not names(folder):
        return "nothing yet"
    try:
        load(folder)
    except CheckpointError as error:
        if "training has not finished here; resume it first" in str(error):
            return "not finished"
        if {name for name in names(folder) if not name.startswith(".")} <= {"resume.safetensors"}:
            return "nothing yet"
        return str(error)
    return "whole"


def crowd(place: Path, rounds: int, write: tuple[Callable[[Path], None], ...]) -> Found:
    """Let all write to one place at once, where there is nothing and where there is something."""
    failed = []
    for number in range(rounds):
        folder = place / str(number) / "bundle"
        for _ in range(2):
            codes = exit_codes(*(functools.partial(one, folder) for one in write))
            open_bundle(folder)  # the error it raises would end the scene
            if any(codes) or names(folder.parent) != ["bundle"]:
                failed.append(f"{codes}, {names(folder.parent)}")
    return {"failed": failed}


def crowded_publishing(place: Path, rounds: int) -> Found:
    bundles = [open_bundle(MADE / name) for name in ("notebook", "padded")] * 2
    return crowd(place, rounds, tuple(functools.partial(publish, one) for one in bundles))


def reading(place: Path, rounds: int) -> Found:
    """Open a bundle again and again while another process republishes it."""
    bundles = [open_bundle(MADE / name) for name in ("notebook", "padded")]
    folder = place / "bundle"
    publish(bundles[0], folder)
    whole = [dict(bundle.files) for bundle in bundles]
    seen: Counter[int] = Counter()
    failed = []
    work = again_and_again(*(functools.partial(publish, one, folder) for one in bundles))
    with forked(work):
        for _ in range(rounds):
            try:
                seen[whole.index(dict(open_bundle(folder).files))] += 1
            except (BundleError, OSError, ValueError) as error:
                failed.append(str(error))
    return {"failed": failed, "seen": [seen[0], seen[1]]}


def main(*arguments: object) -> tuple[int, str]:
    """The exit code of `pe-deploy` with these arguments, and what it says on stderr."""
    from pe_deploy.__main__ import main as command

    sys.argv = ["pe-deploy", *map(str, arguments)]
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            command()
        except SystemExit as stop:
            if isinstance(stop.code, str):
                return 1, err.getvalue() + stop.code + "\n"
            return int(stop.code or 0), err.getvalue()
    return 0, err.getvalue()


def commands(inputs: Path, outputs: Path) -> list[tuple[object, ...]]:
    """Every command that writes, and each writer of rows."""
    bundle = inputs / "bundle"
    return [
        ("export", inputs / "weights.pt", "-o", outputs / "bundle", "--crossover", 32),
        ("train", "synthetic", "--seed", 1, "--epochs", 1, "-o", outputs / "checkpoint"),
        *(
            ("predict", bundle, inputs / f"rows.{suffix}", "-o", outputs / f"answers.{suffix}")
            for suffix in ("csv", "jsonl", "parquet", "npz")
        ),
        ("verify", bundle, "--golden-only", "--report", outputs / "report.json"),
    ]


def make_inputs(inputs: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from pe_deploy import ModelConfig
    from pe_deploy.training import GRUClassifier

    inputs.mkdir()
    shutil.copytree(MADE / "notebook", inputs / "bundle")  # any user can read it here
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=12, max_length=10)
    torch.save(GRUClassifier(config).state_dict(), inputs / "weights.pt")
    ids = np.random.default_rng(0).integers(0, 12, (3000, 10))
    rows = [" ".join(map(str, row)) + "\n" for row in ids.tolist()]
    (inputs / "rows.csv").write_text("input_ids\n" + "".join(rows))
    lines = [json.dumps({"input_ids": row}) + "\n" for row in ids.tolist()]
    (inputs / "rows.jsonl").write_text("".join(lines))
    pq.write_table(pa.table({"input_ids": ids.tolist()}), inputs / "rows.parquet")
    np.savez(inputs / "rows.npz", input_ids=ids)


def suffer(
    inputs: Path, outputs: Path, hardship: Callable[[], contextlib.AbstractContextManager[None]]
) -> Found:
    """Run every command under a hardship; all is to be as it was, and said in one line."""
    before = contents(outputs)
    listed = sorted(map(str, outputs.rglob("*")))
    failed, lines = [], []
    for arguments in commands(inputs, outputs):
        with hardship():
            code, err = main(*arguments)
        lines.append(err)
        if code != 1 or err.count("\n") != 1 or str(outputs) not in err:
            failed.append(f"{arguments[0]}: {code}, {err}")
        if contents(outputs) != before or sorted(map(str, outputs.rglob("*"))) != listed:
            failed.append(f"{arguments}: left {sorted(map(str, outputs.rglob('*')))}")
    return {"failed": failed, "lines": lines}


def mount_small_disk(folder: Path) -> bool:
    """A file system of 2 MiB at `folder`, for this process alone; False where that is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if user else 0)):
        return False
    if user:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        except OSError:
            return False
    if libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None):
        return False
    return not libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=2m")


def full_disk(inputs: Path, outputs: Path, free: int) -> Found:
    """A disk with no more than `free` bytes left."""
    disk = outputs.parent / "disk"
    disk.mkdir()
    if not mount_small_disk(disk):
        return {"forbidden": True}
    moved = shutil.copytree(outputs, disk / "outputs")

    @contextlib.contextmanager
    def full() -> Iterator[None]:
        filler = disk / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        os.truncate(filler, filler.stat().st_size - free)
        try:
            yield
        finally:
            filler.unlink()

    return suffer(inputs, moved, full)


def small_files(inputs: Path, outputs: Path, limit: int) -> Found:
    """No file may grow beyond `limit` bytes."""

    @contextlib.contextmanager
    def small() -> Iterator[None]:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, most)

    return suffer(inputs, outputs, small)


def read_only(inputs: Path, outputs: Path, mode: int) -> Found:
    """Folders that nobody may write to, as a user who is not root."""
    for folder in (outputs, outputs / "checkpoint", outputs / "bundle"):
        folder.chmod(mode)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return suffer(inputs, outputs, contextlib.nullcontext)


def hardships(place: Path, free: int) -> Found:
    """Every command under each hardship, each in a process of its own."""
    place.chmod(0o755)
    inputs, outputs = place / "inputs", place / "outputs"
    make_inputs(inputs)
    for arguments in commands(inputs, outputs):  # what is there before; and every import is done
        code, err = main(*arguments)
        if code:
            raise RuntimeError(err)
    found = {}
    for name, number, hardship in (
        ("full disk", free, full_disk),
        ("small files", 1000, small_files),
        ("read only", 0o555, read_only),
    ):
        with tempfile.TemporaryFile("w+") as told:

            def work(hardship: Hardship = hardship, number: int = number, told: Any = told) -> None:
                json.dump(hardship(inputs, outputs, number), told)
                told.flush()

            codes = exit_codes(work)
            told.seek(0)
            found[name] = json.load(told) if codes == [0] else {"failed": ["crashed"]}
    return found


Hardship = Callable[[Path, Path, int], Found]

SCENES = {
    scene.__name__: scene
    for scene in (
        killed_publishing,
        exporting,
        killed_training,
        crowded_publishing,
        reading,
        hardships,
    )
}

if __name__ == "__main__":
    json.dump(SCENES[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])), sys.stdout)
