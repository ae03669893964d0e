"""A bundle on the disk: published whole, opened verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pe_deploy.bundle.artifacts import GOLDEN, MANIFEST, SIGNATURE, largest
from pe_deploy.bundle.consistency import check_parts
from pe_deploy.bundle.golden import GoldenCase, golden_from_bytes
from pe_deploy.bundle.manifest import FileRecord, Manifest
from pe_deploy.bundle.signing import check_signature
from pe_deploy.errors import BundleError
from pe_deploy.storage.folder import Folder, open_folder

_ATTEMPTS = 10
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were read once and found to be the ones that were published.

    Attributes:
        path: the folder that it was read from.
        manifest: what it is.
        files: from each name to the bytes that were checked: load a model from these, not from
            the disk, where they may have changed since.
        manifest_json: the bytes of the manifest, which vouch for all others; empty where the bundle
            was not read from a folder.
        signature: the bytes of `model.sig`, which `check_signature` checks; None where there is
            none.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    manifest_json: bytes = b""
    signature: bytes | None = None

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
        """The reference inputs and logits.

        Raises:
            BundleError: the bundle holds none, or they are malformed.
        """
        return golden_from_bytes(self.read(GOLDEN))

    def check_signature(self, public_key: str | Path) -> None:
        """Check that the owner of a key signed this bundle as it was read.

        Args:
            public_key: a PEM file.

        Raises:
            BundleError: the bundle is not signed, or by another key, or was changed since.
            InvalidInputError: the key cannot be read, or is of another kind.
            MissingDependencyError: model-signing is not installed.
        """
        if self.signature is None:
            raise BundleError(f"{self.path} is not signed: it holds no {SIGNATURE}")
        files = {**self.files, MANIFEST: self.manifest_json}
        check_signature(files, self.signature, public_key, str(self.path))


def open_bundle(path: str | Path, *, public_key: str | Path | None = None) -> Bundle:
    """Read each file of a bundle once, and check it.

    The folder may be behind a link and may be replaced meanwhile; the bundle is then the one that
    was there before or the new one, never a mixture.

    Args:
        path: the folder.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Raises:
        BundleError: naming the file that is missing, not in the manifest, a link or no regular
            file, larger than allowed, or changed since it was published; that the manifest itself
            was changed, or is of a newer format; or which part is malformed, of another export, or
            has weights outside itself or weights that are not finite; or as
            `Bundle.check_signature` raises it, with a `public_key`.
    """
    bundle = _open(Path(path))
    if public_key is not None:
        bundle.check_signature(public_key)
    return bundle


def _open(folder: Path) -> Bundle:
    for _ in range(_ATTEMPTS):
        try:
            if not folder.is_dir():
                raise BundleError(
                    f"{folder} is not a folder; a bundle is a folder with a {MANIFEST}"
                )
            with open_folder(folder) as opened:
                try:
                    return _read(opened)
                except (BundleError, OSError):
                    if not opened.was_replaced():
                        raise
        except OSError as error:
            raise BundleError(f"{folder} cannot be read: {error}") from error
    raise BundleError(f"{folder} was replaced {_ATTEMPTS} times while it was read")


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the files into an existing folder, and a manifest with the record of each."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    records = {name: FileRecord.of(data) for name, data in sorted(files.items())}
    complete = dataclasses.replace(manifest, files=records)
    (folder / MANIFEST).write_bytes(complete.to_json())


def _read(folder: Folder) -> Bundle:
    path = folder.path
    present = folder.names()
    if MANIFEST not in present:
        raise BundleError(f"{path} holds no {MANIFEST}: it is not a bundle, or is incomplete")
    manifest_json = folder.read(MANIFEST, largest(MANIFEST))
    try:
        manifest = Manifest.from_json(manifest_json)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    if missing := manifest.files.keys() - present:
        raise BundleError(f"{path} lacks {_listed(missing)}, which its {MANIFEST} lists")
    if extra := present - manifest.files.keys() - {MANIFEST, SIGNATURE}:
        raise BundleError(f"{path} holds {_listed(extra)}, which its {MANIFEST} does not list")
    files = {}
    for name, record in manifest.files.items():
        files[name] = folder.read(name, largest(name), record.size)
        if FileRecord.of(files[name]) != record:
            raise BundleError(
                f"{path / name} was changed after it was published: "
                f"its SHA-256 is not the one in {MANIFEST}"
            )
    signature = folder.read(SIGNATURE, largest(SIGNATURE)) if SIGNATURE in present else None
    try:
        check_parts(manifest, files)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    return Bundle(path, manifest, files, manifest_json, signature)


def _listed(names: Iterable[str]) -> str:
    """Names for an error, of which any may be on a disk."""
    ordered = sorted(names)
    shown = [name if name.isprintable() else ascii(name) for name in ordered[:_NAMES_SHOWN]]
    more = len(ordered) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
