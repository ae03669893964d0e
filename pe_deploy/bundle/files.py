"""A bundle on the disk: published whole, opened verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes
from pe_deploy.bundle.manifest import FileRecord, Manifest
from pe_deploy.errors import BundleError

MANIFEST = "manifest.json"
ONNX = "model.onnx"
TORCHSCRIPT = "model.pt"
GOLDEN = "golden.npz"
PARITY = "parity.json"
README = "README.md"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were read once and found to be the ones that were published.

    `files` maps each name to the bytes that were checked: load a model from these, not from the
    disk, where they may have changed since.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The checked bytes of a file.

        Raises:
            BundleError: the bundle does not hold that file.
        """
        try:
            return self.files[name]
        except KeyError:
            raise BundleError(
                f"{self.path} holds no {name}; it holds {', '.join(sorted(self.files))}"
            ) from None

    def golden(self) -> list[GoldenCase]:
        """The reference inputs and logits."""
        return golden_from_bytes(self.read(GOLDEN))


def open_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check every file against the manifest.

    Raises:
        BundleError: the folder, its manifest or a file is missing, a file is not in the manifest,
            or its size or SHA-256 is not the one that the manifest states.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; a bundle is a folder with a {MANIFEST}")
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder} holds no {MANIFEST}: it is not a bundle, or is incomplete")
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    present = {file.name for file in folder.iterdir()} - {MANIFEST}
    if missing := sorted(manifest.files.keys() - present):
        raise BundleError(f"{folder} lacks {', '.join(missing)}, which its {MANIFEST} lists")
    if extra := sorted(present - manifest.files.keys()):
        raise BundleError(f"{folder} holds {', '.join(extra)}, which its {MANIFEST} does not list")
    try:
        files = {name: (folder / name).read_bytes() for name in manifest.files}
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error}") from error
    for name, data in files.items():
        if FileRecord.of(data) != manifest.files[name]:
            raise BundleError(
                f"{folder / name} was changed after it was published: "
                f"its size or SHA-256 is not the one in {MANIFEST}"
            )
    return Bundle(folder, manifest, files)


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the files into an existing folder, and a manifest with the record of each."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    records = {name: FileRecord.of(data) for name, data in sorted(files.items())}
    complete = dataclasses.replace(manifest, files=records)
    (folder / MANIFEST).write_bytes(complete.to_json())
