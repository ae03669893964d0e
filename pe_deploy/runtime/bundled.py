"""A classifier that runs a model file of a bundle, and carries it wherever it goes."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from pe_deploy.bundle import MANIFEST, Bundle, FileRecord, open_bundle
from pe_deploy.errors import BundleError
from pe_deploy.runtime.classifier import Classifier, Run


class BundleClassifier(Classifier):
    """Keeps the bytes that were verified when the bundle was opened; the disk is not read again.

    A forked process or a pickle's reader opens its engine from these bytes, once their size and
    SHA-256 are found to be those of the manifest. A pickle holds the manifest, this one file and
    the settings. The check finds damage; who can write your pickles can run any code.
    """

    def __init__(
        self, bundle: str | Path | Bundle, name: str, public_key: str | Path | None = None
    ) -> None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        if public_key is not None:
            opened.check_signature(public_key)
        manifest = opened.manifest
        super().__init__(manifest.signature, manifest.labels, manifest.threshold)
        self.manifest = manifest
        self._name = name
        self._where = str(opened.path / name)
        self._model = opened.read(name)
        # Not by `_open`: these bytes have just been checked, or are being published.
        self._hold(lambda: self._load(self._model))

    def close(self) -> None:
        """Give the engine and the model's bytes back; see `Classifier.close`."""
        super().close()
        self._model = b""

    def _open(self) -> Run:
        if FileRecord.of(self._model) != self.manifest.files.get(self._name):
            raise BundleError(
                f"{self._where} was changed after it was published: "
                f"its size or SHA-256 is not the one in {MANIFEST}"
            )
        return self._load(self._model)

    @abstractmethod
    def _load(self, model: bytes) -> Run:
        """Open an engine on a model.

        Raises:
            BundleError: the engine does not load it.
        """
