"""Bundles live where people put them: the digest protects, not the kind of directory entry."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pe_deploy.storage.folder as reading
from pe_deploy import BundleError, OnnxClassifier, open_bundle
from pe_deploy.bundle.bundle import open_parts
from pe_deploy.bundle.inventory import check_strictly, inventory_of
from pe_deploy.storage.atomic import publishing

IDS = np.arange(400).reshape(40, 10) % 12
EXTRAS = (".DS_Store", ".gitattributes", ".cache/", "LICENSE", "notes.md", "Thumbs.db")
NOT_TO_RUN = ("README.md", "golden.npz", "model.pt", "model.throughput.onnx", "parity.json")
LISTED = ("manifest.json", "golden.npz", "model.onnx", "model.pt", "parity.json")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows lets few users make links")

Make = Callable[[Path], object]


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors of folders, and without them, as on Windows."""
    if not request.param:
        monkeypatch.setattr(reading, "BY_DESCRIPTOR", False)
    elif not reading.BY_DESCRIPTOR:
        pytest.skip("this system has no descriptors of folders")


def link_into_a_store(folder: Path) -> None:
    """As the hub's cache does: each file is a relative link to one that has another name."""
    store = folder.parent / "blobs"
    store.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(store / f"{number}")
        path.symlink_to(Path("..", "blobs", f"{number}"))


def mount(folder: Path, version: str = "..2026_01") -> None:
    """As Kubernetes does: each file is a link into a folder that is itself behind a link."""
    held = folder / version
    held.mkdir()
    for path in sorted(folder.iterdir()):
        if path != held:
            path.rename(held / path.name)
            path.symlink_to(Path("..data", path.name))
    (folder / "..data").symlink_to(version)


def hard_link(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        (folder.parent / path.name).hardlink_to(path)


def add(name: str, folder: Path) -> None:
    (folder / name).mkdir() if name.endswith("/") else (folder / name).write_bytes(b"\0")


def add_traps(folder: Path) -> None:
    """What would be waited for, or lead nowhere, were it opened."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")


def change_readme(folder: Path) -> None:
    text = (folder / "README.md").read_bytes()
    (folder / "README.md").write_bytes(text.replace(b"\n", b"\r\n"))


def remove(names: tuple[str, ...], folder: Path) -> None:
    for name in names:
        (folder / name).unlink()


WHOLE: dict[str, Make] = {
    "links into a store": link_into_a_store,
    "a mounted volume": mount,
    "hard links": hard_link,
    **{name: partial(add, name) for name in EXTRAS},
    "traps": add_traps,
    "a README with other line ends": change_readme,
    "no README": partial(remove, NOT_TO_RUN[:1]),
}
SLIM: dict[str, Make] = {
    "slim": partial(remove, NOT_TO_RUN),
    "slim, with golden vectors": partial(remove, (NOT_TO_RUN[0], *NOT_TO_RUN[2:])),
}


@pytest.mark.parametrize("kind", [*WHOLE, *SLIM])
def test_an_app_runs_each_as_the_plain_one(
    own_bundle: Path, notebook_bundle: Path, kind: str
) -> None:
    (WHOLE | SLIM)[kind](own_bundle)
    expected = OnnxClassifier(notebook_bundle, form="latency").predict_logits(IDS)
    found = OnnxClassifier(own_bundle, form="latency").predict_logits(IDS)
    assert found.tobytes() == expected.tobytes()
    assert len(OnnxClassifier(own_bundle).predict(IDS)) == 40


@pytest.mark.parametrize("kind", WHOLE)
def test_each_is_whole(own_bundle: Path, notebook_bundle: Path, kind: str) -> None:
    WHOLE[kind](own_bundle)
    assert open_bundle(own_bundle).files == open_bundle(notebook_bundle).files


@pytest.mark.parametrize("kind", SLIM)
def test_a_slim_copy_is_not_whole(own_bundle: Path, kind: str) -> None:
    SLIM[kind](own_bundle)
    with pytest.raises(BundleError, match=r"lacks .*model\.pt, .*which its manifest\.json lists"):
        open_bundle(own_bundle)
    bundle = open_parts(own_bundle)
    assert set(bundle.missing) == set(bundle.manifest.files) - set(bundle.files) - {"README.md"}
    with pytest.raises(BundleError, match=r"lacks model\.pt, which its manifest\.json lists"):
        bundle.read("model.pt")


def test_parts_are_read_when_asked_for(own_bundle: Path) -> None:
    remove(("golden.npz",), own_bundle)
    (own_bundle / "model.pt").write_bytes(b"damaged")
    bundle = open_parts(own_bundle, ["model.onnx", "nothing"])
    assert list(bundle.files) == ["model.onnx"]
    assert bundle.read("parity.json") == (own_bundle / "parity.json").read_bytes()
    for name, why in (
        ("golden.npz", "lacks golden.npz, which its manifest.json lists"),
        ("model.pt", "model.pt was changed after it was published: it has 7 bytes instead of"),
        ("nothing", "holds no nothing; it holds README.md, golden.npz"),
    ):
        with pytest.raises(BundleError, match=why):
            bundle.read(name)


@contextmanager
def entry(kind: str, place: Path) -> Iterator[None]:
    """Something at `place` that is no regular file."""
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "a pipe":
            os.mkfifo(place)
        elif kind == "a folder":
            place.mkdir()
        elif kind == "a loop":
            place.symlink_to(place.name)
        elif kind == "a socket":
            os.chdir(place.parent)  # its path has to be short
            listening.bind(place.name)
        else:
            place.symlink_to(kind)
        yield


@pytest.mark.parametrize("behind_a_link", [False, True])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a loop", "a socket", "/dev/zero"])
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, behind_a_link: bool
) -> None:
    monkeypatch.chdir(own_bundle)
    place = own_bundle / name
    place.unlink()
    if behind_a_link:
        place.symlink_to(f"../{name}")
        place = own_bundle.parent / name
    with entry(kind, place), pytest.raises(BundleError) as caught:
        open_bundle(own_bundle)
    why = "Too many levels of symbolic links" if kind == "a loop" else "is not a regular file"
    assert name in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", LISTED)
def test_a_changed_byte_behind_a_link_is_refused(own_bundle: Path, name: str) -> None:
    mount(own_bundle)
    data = bytearray((own_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("kind", ["a pipe", "/dev/zero"])
def test_what_is_put_there_in_the_last_moment_is_not_waited_for(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """After the file was looked at and before it is opened."""
    opened = os.open

    def late(path: str | Path, flags: int, *, dir_fd: int | None = None) -> int:
        if Path(path).name == "model.pt":
            (own_bundle / "model.pt").unlink(missing_ok=True)
            with entry(kind, own_bundle / "model.pt"):
                pass
        return opened(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(BundleError, match=r"model\.pt is not a regular file"):
        open_bundle(own_bundle)


def test_a_file_that_grows_is_not_read_on(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that it is read, after it was looked at."""
    looked = os.fstat

    def grown(descriptor: int) -> os.stat_result:
        found = looked(descriptor)
        if found.st_size == (own_bundle / "model.pt").stat().st_size:
            with (own_bundle / "model.pt").open("ab") as file:
                file.write(b"!")
        return found

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(BundleError, match=r"changed after it was|was replaced 10 times"):
        open_bundle(own_bundle)


def swap_folder(folder: Path, bundle: Path) -> None:
    with publishing(folder) as staging:
        shutil.copytree(bundle, staging, dirs_exist_ok=True)


def swap_mount(folder: Path, bundle: Path) -> None:
    """As Kubernetes updates a volume: the folder stays, and one link in it is exchanged."""
    if not (folder / "..data").exists():
        mount(folder)
    version = f"..{bundle.name}"
    shutil.copytree(bundle, folder / version, dirs_exist_ok=True)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")


SWAPS = pytest.mark.parametrize("swap", [swap_folder, swap_mount])


@SWAPS
def test_a_reader_sees_the_old_bundle_or_the_new_one(
    own_bundle: Path,
    notebook_bundle: Path,
    padded_bundle: Path,
    swap: Callable[[Path, Path], None],
) -> None:
    """While another thread exchanges two of them."""
    bundles = [padded_bundle, notebook_bundle]
    digests = {open_bundle(path).manifest.weights_sha256 for path in bundles}
    ended = threading.Event()

    def publish() -> None:
        turn = 0
        while not ended.wait(0.005):
            swap(own_bundle, bundles[turn % 2])
            turn += 1

    swap(own_bundle, notebook_bundle)  # the volume is mounted before it is read
    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        seen = {open_bundle(own_bundle).manifest.weights_sha256 for _ in range(100)}
    finally:
        ended.set()
        publisher.join()
    assert seen <= digests


@SWAPS
def test_what_is_swapped_while_it_is_read_is_read_again(
    own_bundle: Path,
    notebook_bundle: Path,
    padded_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[Path, Path], None],
) -> None:
    bundles = notebook_bundle, padded_bundle
    swap(own_bundle, notebook_bundle)
    read = reading.Folder.read
    times = 1

    def swapped(folder: reading.Folder, name: str, largest: int, size: int | None = None) -> bytes:
        nonlocal times
        if name == "model.pt" and times:
            swap(own_bundle, bundles[times % 2])
            times -= 1
        return read(folder, name, largest, size)

    monkeypatch.setattr(reading.Folder, "read", swapped)
    assert open_bundle(own_bundle).manifest == open_bundle(padded_bundle).manifest
    times = 100
    with pytest.raises(BundleError, match="was replaced 10 times while it was read"):
        open_bundle(own_bundle)


def test_what_is_read_is_what_was_checked(own_bundle: Path) -> None:
    bundle = open_parts(own_bundle, ["model.onnx"])
    for name in ("model.onnx", "golden.npz"):
        (own_bundle / name).write_bytes(b"another")
    OnnxClassifier(bundle, form="latency")
    with pytest.raises(BundleError, match=r"golden\.npz was changed after it was published"):
        bundle.golden()


def test_the_folder_may_be_behind_a_link(own_bundle: Path) -> None:
    current = own_bundle.parent / "current"
    current.symlink_to(own_bundle, target_is_directory=True)
    assert OnnxClassifier(current).predict([[1, 2, 3]]).shape == (1,)


def test_an_inventory_tells_what_is_missing_changed_and_foreign(own_bundle: Path) -> None:
    check_strictly(open_bundle(own_bundle))
    assert not any(inventory_of(open_bundle(own_bundle)))
    for make in (partial(remove, ("model.pt",)), change_readme, partial(add, ".cache/")):
        make(own_bundle)
    found = inventory_of(open_parts(own_bundle))
    assert found == (["model.pt"], ["README.md"], [".cache"])
    told = (
        r"lacks model\.pt and has a changed README\.md and holds \.cache, which its manifest\.json"
        " does not list"
    )
    with pytest.raises(BundleError, match=told):
        check_strictly(open_parts(own_bundle))


def test_names_that_nobody_can_print_and_many_names_are_told_in_one_line(own_bundle: Path) -> None:
    try:
        (own_bundle / "two\nlines\udcff").touch()
    except (OSError, ValueError):
        pytest.skip("this system has no such names")
    for number in range(30):
        (own_bundle / f"{number:02}.txt").touch()
    with pytest.raises(BundleError, match=r"holds 00\.txt, .* and 11 more, which") as caught:
        check_strictly(open_bundle(own_bundle))
    remove(tuple(f"{number:02}.txt" for number in range(30)), own_bundle)
    with pytest.raises(BundleError, match=r"holds 'two\\nlines\\udcff', which") as caught:
        check_strictly(open_bundle(own_bundle))
    str(caught.value).encode()
