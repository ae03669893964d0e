"""One file of weights, whatever it is called: what it is shows in its first bytes."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import torch

from pe_deploy.errors import CheckpointError, line_of
from pe_deploy.training.state_dict import State, tensors_from_bytes
from pe_deploy.training.unwrap import HOW_TO_SAVE, NAME_THE_CLASS, unwrapped

LARGEST = 2**34
"""The most bytes of a file of weights."""

_HEAD = 64
_PICKLES = 5  # before 1.6: a mark, a version, the machine, the tensors, their names
_OTHER_KINDS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run: git lfs pull",
    b"\x93NUMPY": f"is an array of numpy; {HOW_TO_SAVE}",
    b"\x89HDF": f"is HDF5, as Keras writes it; {HOW_TO_SAVE}",
    b"\x1f\x8b": "is compressed by gzip; unpack it first",
}
_ODD_ARCHIVE = (
    *(zipfile.BadZipFile, struct.error, EOFError),
    *(ValueError, NotImplementedError, OverflowError),
)
"""What `zipfile` raises for an archive that is damaged or odd."""

_CLASS_AND_WEIGHTS = f"name the class ({NAME_THE_CLASS}) and {HOW_TO_SAVE}"


def read_file(path: Path) -> tuple[State, tuple[str, ...]]:
    """The named tensors in a file, and a line on each thing that was done to get at them.

    A pickle is only ever read with `weights_only=True`, which builds tensors and plain containers
    and runs no code of the file.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or holds something else
            than named tensors.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if not path.is_file():
        raise CheckpointError(f"{path}: neither a file nor a folder; allowed: a file of weights")
    try:
        with path.open("rb") as file:
            return _read(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _read(path: Path, file: IO[bytes], size: int) -> tuple[State, tuple[str, ...]]:
    if size > LARGEST:
        raise CheckpointError(f"{path}: {size} bytes; allowed: {LARGEST} or fewer")
    head = file.read(_HEAD)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{path}: the file is empty; {HOW_TO_SAVE}")
    # First of all: the length that it begins with may look like the mark of anything else.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return unwrapped(path, tensors_from_bytes(path, file.read())[0])
    for mark, what in _OTHER_KINDS.items():
        if head.startswith(mark):
            raise CheckpointError(f"{path}: {what}")
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path}: is ONNX already; allowed: weights of torch")
    if head.startswith(b"PK"):
        _check_archive(path, file, size)
    elif head.startswith(b"\x80"):  # pickles, and so torch's format before 1.6
        _check_pickles(path, file, _PICKLES)
    else:
        raise CheckpointError(
            f"{path}: not a file of weights; allowed: what torch.save writes, and .safetensors"
        )
    file.seek(0)
    content, notes = _load(path, file)
    state, more = unwrapped(path, content)
    # Each storage once; a tensor that the pickle makes of a size alone has one of nothing.
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in state.values()}
    held = sum(storage.nbytes() for storage in storages.values())
    if held > size:
        raise CheckpointError(
            f"{path}: {held} bytes of weights, in a file of {size}; {HOW_TO_SAVE}"
        )
    return state, (*notes, *more)


def _check_archive(path: Path, file: IO[bytes], size: int) -> None:
    """Which of the zip archives that end in `.pt` it is, and that it holds what it says."""
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except _ODD_ARCHIVE as error:
        raise CheckpointError(
            f"{path}: not a readable archive of torch: {line_of(error)}; {HOW_TO_SAVE}"
        ) from error
    members = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise CheckpointError(f"{path}: is TorchScript, not weights; {_CLASS_AND_WEIGHTS}")
    if "data.pkl" not in members:
        kind = "numpy's .npz" if any(e.filename.endswith(".npy") for e in entries) else "another"
        raise CheckpointError(f"{path}: a zip archive ({kind}) without torch's; {HOW_TO_SAVE}")
    # torch.save never compresses: what unpacks to more was made to.
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"{path}: unpacks to more than the file holds; {HOW_TO_SAVE}")
    try:
        pickles = [archive.read(entry) for entry in entries if entry.filename.endswith("data.pkl")]
    except (*_ODD_ARCHIVE, zlib.error, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: not a readable archive of torch: {line_of(error)}; {HOW_TO_SAVE}"
        ) from error
    for data in pickles:
        _check_pickles(path, io.BytesIO(data), 1)


def _check_pickles(path: Path, file: IO[bytes], count: int) -> None:
    """Refuse what `weights_only=True` lets be made of a size alone, and filled: a `bytearray`."""
    try:
        for _ in range(count):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL" and str(argument).endswith(" bytearray"):
                    raise CheckpointError(
                        f"{path}: holds a bytearray, which may be of any size; {HOW_TO_SAVE}"
                    )
    except (ValueError, struct.error, OverflowError):
        return  # torch says what is wrong with it


def _load(path: Path, file: IO[bytes]) -> tuple[object, tuple[str, ...]]:
    places: set[str] = set()

    def to_cpu(storage: Any, location: str) -> Any:
        places.add(location)
        return storage

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on kinds of tensors that are refused afterwards
            content = torch.load(file, map_location=to_cpu, weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text is a page on loading it unsafely
        raise CheckpointError(f"{path}: {_pickled(str(error))}") from error
    except Exception as error:  # damage can surface as nearly any error
        raise CheckpointError(
            f"{path}: not a readable file of plain tensors: {line_of(error)}; {HOW_TO_SAVE}"
        ) from error
    devices = sorted(places - {"cpu"})
    return content, (f"moved from {', '.join(devices)} to the CPU",) if devices else ()


def _pickled(text: str) -> str:
    named = re.search(r"GLOBAL (\S+) was not an allowed global", text)
    if named is None:
        return f"holds pickled objects (or is damaged), not a state_dict; {HOW_TO_SAVE}"
    return (
        f"holds a pickled {named[1]}, which only code can make again; where you trust it, "
        f"load it in Python, {_CLASS_AND_WEIGHTS}"
    )
