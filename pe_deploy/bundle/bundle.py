"""A bundle on the disk: published whole, opened verified, as a whole or in parts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pe_deploy.bundle.artifacts import GOLDEN, MANIFEST, README, SIGNATURE, TEXTS, largest
from pe_deploy.bundle.consistency import check_part
from pe_deploy.bundle.manifest import FileRecord, Manifest
from pe_deploy.errors import BundleError, InvalidInputError, errors_as
from pe_deploy.storage.folder import Folder, open_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pe_deploy.bundle.golden import GoldenCase
    from pe_deploy.text.encoder import TextEncoder
    from pe_deploy.text.golden import GoldenText
    from pe_deploy.text.spec import TooLong

_ATTEMPTS = 10


@dataclass(eq=False)
class Bundle:
    """A bundle whose files are the ones that were published, each checked when it was read.

    Attributes:
        folder: that it is read from; as a `Path`, it is `path`.
        manifest: what it is.
        files: from each name to the bytes that were read and checked: load a model from these, not
            from the disk, where they may have changed since.
        manifest_json: the bytes of the manifest, which vouch for all others; empty where the bundle
            was not read from a folder.
        signature: the bytes of `model.sig`, which `check_signature` checks; None where there is
            none, or only parts were opened.

    >>> bundle = open_bundle("models/demo")
    >>> bundle.manifest.signature.max_length
    64
    >>> bundle.golden()[0].float64.shape[1:]    # logits of 10 classes
    (10,)
    """

    folder: str | Path
    manifest: Manifest
    files: Mapping[str, bytes]
    manifest_json: bytes = b""
    signature: bytes | None = None

    def __repr__(self) -> str:
        from pe_deploy.bundle.describe import sentence  # not at an app's start, as below

        said = sentence(self.manifest.signature, self.manifest.decision, self.manifest.text)
        return f"<Bundle {self.folder}: {said}\n  {', '.join(self.files)}>"

    def _repr_html_(self) -> str:
        from pe_deploy.bundle.describe import manifest_html

        return manifest_html(f"Bundle {self.folder}", self.manifest)

    @property
    def path(self) -> Path:
        """The folder that it is read from."""
        from pathlib import Path  # slow to import, as it imports urllib, and few apps need it

        return Path(self.folder)

    @property
    def missing(self) -> list[str]:
        """What the manifest lists and was not read."""
        return [name for name in _listed(self.manifest) if name not in self.files]

    def read(self, name: str) -> bytes:
        """The checked bytes of a file, which is read now if it was not when the bundle was opened.

        Raises:
            BundleError: the bundle does not hold that file, or not as it was published.
        """
        if name not in self.files:
            if name not in self.missing or not self.manifest_json:
                held = ", ".join(sorted({*self.files, *self.manifest.files}))
                raise BundleError(f"{self.folder} holds no {name}; it holds {held}")
            with _opened(self.folder) as folder:
                files = _read_files(folder, self.manifest, [name], whole=True)
            self.files = {**self.files, **files}
        return self.files[name]

    def read_beside(self, name: str) -> bytes | None:
        """The bytes of `README.md` or `model.sig`, which no digest covers; None where it is not.

        Raises:
            BundleError: it is no regular file, or larger than allowed.
        """
        with _opened(self.folder) as folder:
            return _read_file(folder, name)

    def golden(self) -> list[GoldenCase]:
        """The reference inputs and logits.

        Raises:
            BundleError: the bundle holds none, or they are malformed.
        """
        from pe_deploy.bundle.golden import golden_from_bytes  # with zipfile, which few apps need

        return golden_from_bytes(self.read(GOLDEN), self.manifest.signature)[1]

    def golden_texts(self) -> list[GoldenText]:
        """The reference texts, with the ids that they gave.

        Raises:
            BundleError: the bundle holds none, or they are malformed.
        """
        from pe_deploy.text.golden import texts_from_bytes

        with errors_as(BundleError, f"{TEXTS}: "):
            return texts_from_bytes(self.read(TEXTS), self.manifest.signature)

    def encoder(self, truncation: TooLong | None = None) -> TextEncoder:
        """What makes ids of texts.

        Args:
            truncation: what becomes of a text that is too long, "error", or which end of it is cut
                off; by default as the manifest states it.

        Raises:
            InvalidInputError: the bundle takes ids alone, or the truncation is none.
            BundleError: the tokenizer's file is missing, malformed, or of another model.
            MissingDependencyError: it needs `tokenizers`, which is not installed.
        """
        spec = self.manifest.text
        if spec is None:
            raise InvalidInputError(f"{self.folder} takes ids alone: it holds no tokenizer")
        data = b"" if spec.file is None else self.read(spec.file)
        where = f"{self.folder}/{spec.file or MANIFEST}"
        return encoder_of(self.manifest, data, where, truncation)

    def check_signature(self, public_key: str | Path) -> None:
        """Check that the owner of a key signed this bundle, whole and as it was read.

        Args:
            public_key: a PEM file.

        Raises:
            BundleError: the bundle is not signed, or by another key, was changed since, or a file
                is missing.
            InvalidInputError: the key cannot be read, or is of another kind.
            MissingDependencyError: model-signing is not installed.
        """
        from pe_deploy.bundle.signing import check_signature

        signature = self.signature or self.read_beside(SIGNATURE)
        if signature is None:
            raise BundleError(f"{self.folder} is not signed: it holds no {SIGNATURE}")
        files = {name: self.read(name) for name in (*self.files, *self.missing)}
        files[MANIFEST] = self.manifest_json
        if (readme := self.read_beside(README)) is not None:
            files[README] = readme
        check_signature(files, signature, public_key, str(self.folder))


def encoder_of(
    manifest: Manifest, data: bytes, where: str, truncation: TooLong | None = None
) -> TextEncoder:
    """The encoder of a bundle that takes text, of the bytes of its tokenizer's file.

    Raises:
        BundleError: naming `where`: they are malformed, or of another model.
        MissingDependencyError: it needs `tokenizers`, which is not installed.
        InvalidInputError: the truncation is none.
    """
    from pe_deploy.text.encoder import TextEncoder  # as few apps need it
    from pe_deploy.text.opening import open_tokenizer

    if (spec := manifest.text) is None:
        raise BundleError(f"{where}: the manifest states no tokenizer")
    if truncation not in (None, "error", "start", "end"):
        raise InvalidInputError(f"truncation is {truncation!r}; allowed: start, end, error")
    cut = spec.truncation if truncation is None else truncation
    with errors_as(BundleError, f"{where}: "):
        return TextEncoder(
            open_tokenizer(spec, data), manifest.signature, None if cut == "error" else cut
        )


def open_bundle(path: str | Path, *, public_key: str | Path | None = None) -> Bundle:
    """Read every file that a bundle's manifest lists once, and check it.

    The folder, and each file, may be behind a link and may be replaced meanwhile; the bundle is
    then the one that was there before or the new one, never a mixture. What the manifest does not
    list is not looked at.

    Args:
        path: the folder.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Raises:
        BundleError: naming the file that is missing, no regular file, larger than allowed, or
            changed since it was published; that the manifest itself was changed, or is of a newer
            format; or which part is malformed, of another export, or has weights outside itself or
            weights that are not finite; or as `Bundle.check_signature` raises it, with a
            `public_key`.

    >>> open_bundle("models/demo").manifest.labels
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """
    return _open(path, None, public_key, whole=True)


def open_parts(
    path: str | Path, names: Collection[str] | None = None, *, public_key: str | Path | None = None
) -> Bundle:
    """Read some files of a bundle, as far as they are there, and check these as `open_bundle` does.

    No other file is looked at, and one that is missing is no error before `Bundle.read` asks for
    it. With a `public_key` the whole bundle is read, since the signature is of all of it.

    Args:
        path: the folder.
        names: of the files, some of which the manifest may not list; by default all that it lists.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Raises:
        BundleError: as `open_bundle`, for the manifest and the files that are read.
    """
    return _open(path, names, public_key, whole=public_key is not None)


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the files into an existing folder, and a manifest with the record of each.

    `README.md` may be among them; it gets no record.
    """
    for name, data in files.items():
        (folder / name).write_bytes(data)
    records = {name: FileRecord.of(data) for name, data in sorted(files.items()) if name != README}
    complete = dataclasses.replace(manifest, files=records)
    (folder / MANIFEST).write_bytes(complete.to_json())


def _open(
    path: str | Path, names: Collection[str] | None, public_key: str | Path | None, whole: bool
) -> Bundle:
    for _ in range(_ATTEMPTS):
        with _opened(path) as folder:
            try:
                bundle = _read(folder, None if whole else names, whole)
                if public_key is not None:
                    bundle.check_signature(public_key)
            except (BundleError, OSError):
                if not folder.was_replaced():
                    raise
            else:
                return bundle
    raise BundleError(f"{path} was replaced {_ATTEMPTS} times while it was read")


@contextmanager
def _opened(given: str | Path) -> Iterator[Folder]:
    """A bundle's folder, open inside the block."""
    path = os.fspath(given)
    with errors_as(BundleError, f"{path} cannot be read: ", OSError):
        if not os.path.isdir(path):  # noqa: PTH112 - no `Path`, which is slow to import
            raise BundleError(f"{path} is not a folder; a bundle is a folder with a {MANIFEST}")
        with open_folder(path) as folder:
            yield folder


def _read(folder: Folder, names: Collection[str] | None, whole: bool) -> Bundle:
    path = folder.path
    manifest_json = _read_file(folder, MANIFEST)
    if manifest_json is None:
        raise BundleError(f"{path} holds no {MANIFEST}: it is not a bundle, or is incomplete")
    with errors_as(BundleError, f"{path}: ", BundleError):
        manifest = Manifest.from_json(manifest_json)
    wanted = [name for name in _listed(manifest) if names is None or name in names]
    files = _read_files(folder, manifest, wanted, whole)
    signature = _read_file(folder, SIGNATURE) if whole else None
    return Bundle(path, manifest, files, manifest_json, signature)


def _read_files(
    folder: Folder, manifest: Manifest, names: list[str], whole: bool
) -> dict[str, bytes]:
    """Listed files, all or those that are there, each as it was published and of this bundle."""
    files: dict[str, bytes] = {}
    for name in names:
        record = manifest.files[name]
        data = _read_file(folder, name, record.size)
        if data is None:
            continue
        if FileRecord.of(data) != record:
            raise BundleError(
                f"{folder.path}/{name} was changed after it was published: "
                f"its SHA-256 is not the one in {MANIFEST}"
            )
        files[name] = data
    with errors_as(BundleError, f"{folder.path}: ", BundleError):
        for name, data in files.items():
            check_part(name, data, manifest)
    if whole and (missing := [name for name in names if name not in files]):
        raise BundleError(f"{folder.path} lacks {', '.join(missing)}, which its {MANIFEST} lists")
    return files


def _read_file(folder: Folder, name: str, size: int | None = None) -> bytes | None:
    """A file's bytes; None where there is none, or a link that leads nowhere."""
    try:
        with errors_as(BundleError):
            return folder.read(name, largest(name), size)
    except FileNotFoundError:
        return None


def _listed(manifest: Manifest) -> list[str]:
    """What has to be as it was published; older manifests list the documentation, too."""
    return [name for name in manifest.files if name != README]
