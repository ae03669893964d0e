"""A folder is read as one, and nothing in it is taken on trust."""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pe_deploy.storage.folder as reading
from pe_deploy import BundleError, Manifest, OnnxClassifier, open_bundle
from pe_deploy.storage.atomic import publishing

Reseal = Callable[..., bytes]
FILES = ("README.md", "golden.npz", "manifest.json", "model.onnx", "model.pt", "parity.json")
needs_links = pytest.mark.skipif(os.name != "posix", reason="Windows lets few users make links")


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors of folders, and without them, as on Windows."""
    if not request.param:
        monkeypatch.setattr(reading, "_HELD", False)
        monkeypatch.setattr(reading, "_SAFELY", os.O_RDONLY)
    elif not reading._HELD:
        pytest.skip("this system has no descriptors of folders")


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_refused(own_bundle: Path, name: str) -> None:
    data = bytearray((own_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
        OnnxClassifier(own_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_longer_or_shorter_file_is_refused(own_bundle: Path, name: str) -> None:
    data = (own_bundle / name).read_bytes()
    for other in (data[:-1], data + b"\n", b""):
        (own_bundle / name).write_bytes(other)
        with pytest.raises(BundleError, match=f"{name} was changed after it was published"):
            open_bundle(own_bundle)


def test_no_flip_and_no_truncation_passes(own_bundle: Path) -> None:
    """1,000 single bits and 200 cuts, over all files as their sizes are."""
    chance = random.Random(4)
    original = {name: (own_bundle / name).read_bytes() for name in FILES}
    sizes = [len(data) for data in original.values()]
    refused = {"flip": 0, "cut": 0}
    for number in range(1200):
        # Half of them anywhere, half with the same share for each file, however small.
        name = chance.choices(FILES, sizes if number % 2 else None)[0]
        data = bytearray(original[name])
        kind = "flip" if number < 1000 else "cut"
        if kind == "flip":
            bit = chance.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        else:
            del data[chance.randrange(len(data)) :]
        (own_bundle / name).write_bytes(data)
        with pytest.raises(BundleError) as caught:
            open_bundle(own_bundle)
        assert name in str(caught.value)
        refused[kind] += 1
        (own_bundle / name).write_bytes(original[name])
    open_bundle(own_bundle)
    assert refused == {"flip": 1000, "cut": 200}


def test_every_byte_of_the_manifest_counts(own_bundle: Path) -> None:
    manifest = own_bundle / "manifest.json"
    original = manifest.read_bytes()
    for bit in range(0, 8 * len(original), 7):  # one or two of each byte
        data = bytearray(original)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleError, match=r"changed after it was published|a newer one"):
            Manifest.from_json(bytes(data))


@needs_links
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_is_refused(own_bundle: Path, name: str) -> None:
    (own_bundle / name).rename(own_bundle.parent / name)
    (own_bundle / name).symlink_to(own_bundle.parent / name)
    with pytest.raises(BundleError, match=f"{name} is a symbolic link"):
        open_bundle(own_bundle)


@needs_links
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("name", FILES)
def test_a_hard_link_is_refused(own_bundle: Path, name: str) -> None:
    (own_bundle.parent / name).hardlink_to(own_bundle / name)
    with pytest.raises(BundleError, match=f"{name} is a hard link, a file with 2 names"):
        open_bundle(own_bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_refused_and_not_waited_for(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()
    os.mkfifo(own_bundle / name)
    with pytest.raises(BundleError, match=f"{name} is not a regular file"):
        open_bundle(own_bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_put_there_in_the_last_moment_is_not_waited_for(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the file was looked at and before it is opened."""
    opened = os.open

    def late(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "model.pt":
            (own_bundle / path).unlink()
            os.mkfifo(own_bundle / path)
        return opened(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(BundleError, match=r"model\.pt is not a regular file"):
        open_bundle(own_bundle)


@pytest.mark.usefixtures("held")
def test_a_folder_or_a_socket_is_no_file(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_bundle / "README.md").unlink()
    (own_bundle / "README.md").mkdir()
    with pytest.raises(BundleError, match=r"README\.md is not a regular file"):
        open_bundle(own_bundle)
    if not hasattr(socket, "AF_UNIX"):
        return
    (own_bundle / "README.md").rmdir()
    monkeypatch.chdir(own_bundle)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("README.md")
        with pytest.raises(BundleError, match=r"README\.md is not a regular file"):
            open_bundle(own_bundle)


@pytest.mark.usefixtures("held")
def test_a_file_over_its_limit_is_refused_unread(own_bundle: Path, reseal: Reseal) -> None:
    size = 2**31
    reseal(own_bundle, files={"model.onnx": {"size": size, "sha256": "0" * 64}})
    for path in own_bundle.iterdir():
        if path.name not in ("manifest.json", "model.onnx"):
            path.unlink()
    os.truncate(own_bundle / "model.onnx", size)  # a hole, which takes no place
    with pytest.raises(BundleError, match=rf"model\.onnx has {size} bytes; allowed: {size - 1} or"):
        open_bundle(own_bundle)


@needs_links
@pytest.mark.usefixtures("held")
def test_the_folder_may_be_behind_a_link(own_bundle: Path) -> None:
    current = own_bundle.parent / "current"
    current.symlink_to(own_bundle, target_is_directory=True)
    assert OnnxClassifier(current).predict([[1, 2, 3]]).shape == (1,)


def test_names_that_nobody_can_print_are_told_in_one_line(own_bundle: Path) -> None:
    try:
        (own_bundle / "two\nlines\udcff").touch()
    except (OSError, ValueError):
        pytest.skip("this system has no such names")
    with pytest.raises(BundleError, match=r"holds 'two\\nlines\\udcff', which") as caught:
        open_bundle(own_bundle)
    str(caught.value).encode()


def test_many_foreign_files_are_not_all_told(own_bundle: Path) -> None:
    for number in range(30):
        (own_bundle / f"{number:02}.txt").touch()
    with pytest.raises(BundleError, match=r"holds 00\.txt, .*04\.txt and 25 more, which"):
        open_bundle(own_bundle)


def test_a_path_that_cannot_be_is_no_bundle() -> None:
    for path in ("a\0b", "x" * 5000, ""):
        with pytest.raises(BundleError):
            open_bundle(path)


def test_a_signature_may_lie_beside_the_manifest(own_bundle: Path) -> None:
    signature = own_bundle / "model.sig"
    signature.write_bytes(b"signed")
    assert open_bundle(own_bundle).signature == b"signed"
    assert "model.sig" not in open_bundle(own_bundle).files
    os.truncate(signature, 2**20 + 1)
    with pytest.raises(BundleError, match=r"model\.sig has 1048577 bytes; allowed: 1048576"):
        open_bundle(own_bundle)
    signature.unlink()
    signature.symlink_to(own_bundle / "README.md")
    with pytest.raises(BundleError, match=r"model\.sig is a symbolic link"):
        open_bundle(own_bundle)


def test_what_is_read_is_what_was_checked(own_bundle: Path) -> None:
    bundle = open_bundle(own_bundle)
    before = bundle.files["model.onnx"]
    (own_bundle / "model.onnx").write_bytes(b"another")
    assert bundle.files["model.onnx"] == before
    OnnxClassifier(bundle)


@pytest.mark.usefixtures("held")
def test_a_reader_sees_the_old_bundle_or_the_new_one(
    tmp_path: Path, notebook_bundle: Path, padded_bundle: Path
) -> None:
    """While a publisher exchanges two of them, and removes the one that was replaced."""
    place = Path(shutil.copytree(notebook_bundle, tmp_path / "live"))
    bundles = [notebook_bundle, padded_bundle]
    digests = {open_bundle(path).manifest.weights_sha256 for path in bundles}
    ended = threading.Event()

    def publish() -> None:
        turn = 0
        while not ended.wait(0.005):
            turn += 1
            with publishing(place) as staging:
                shutil.copytree(bundles[turn % 2], staging, dirs_exist_ok=True)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        seen = {open_bundle(place).manifest.weights_sha256 for _ in range(200)}
    finally:
        ended.set()
        publisher.join()
    assert seen <= digests


@pytest.mark.usefixtures("held")
def test_a_folder_replaced_while_it_is_read_is_read_again(
    own_bundle: Path,
    notebook_bundle: Path,
    padded_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundles = notebook_bundle, padded_bundle
    read = reading.Folder.read
    times = 1

    def replaced(folder: reading.Folder, name: str, largest: int, size: int | None = None) -> bytes:
        nonlocal times
        if name == "model.pt" and times:
            with publishing(own_bundle) as staging:
                shutil.copytree(bundles[times % 2], staging, dirs_exist_ok=True)
            times -= 1
        return read(folder, name, largest, size)

    monkeypatch.setattr(reading.Folder, "read", replaced)
    assert open_bundle(own_bundle).manifest == open_bundle(padded_bundle).manifest
    times = 100
    with pytest.raises(BundleError, match="was replaced 10 times while it was read"):
        open_bundle(own_bundle)
