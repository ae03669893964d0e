"""A classifier that runs model files of a bundle, and carries them wherever it goes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from pe_deploy.bundle import MANIFEST, Bundle, FileRecord, open_bundle
from pe_deploy.errors import BundleError
from pe_deploy.runtime.classifier import Classifier
from pe_deploy.runtime.plan import Run


class BundleClassifier(Classifier):
    """Keeps the bytes that were verified when the bundle was opened; the disk is not read again.

    A forked process or a pickle's reader opens its engine from these bytes, once their size and
    SHA-256 are found to be those of the manifest. A pickle holds the manifest, these files and the
    settings. The check finds damage; who can write your pickles can run any code.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        names: Sequence[str],
        public_key: str | Path | None = None,
    ) -> None:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        if public_key is not None:
            opened.check_signature(public_key)
        manifest = opened.manifest
        super().__init__(manifest.signature, manifest.decision)
        self.manifest = manifest
        self._path = opened.path
        self._models = {name: opened.read(name) for name in names}
        # Not by `_open`: these bytes have just been checked, or are being published.
        self._hold(self._load)

    def close(self) -> None:
        """Give the engine and the model's bytes back; see `Classifier.close`."""
        super().close()
        self._models = {}

    def _open(self) -> Run:
        for name, model in self._models.items():
            if FileRecord.of(model) != self.manifest.files.get(name):
                raise BundleError(
                    f"{self._path / name} was changed after it was published: "
                    f"its size or SHA-256 is not the one in {MANIFEST}"
                )
        return self._load()

    @abstractmethod
    def _load(self) -> Run:
        """Open an engine on `self._models`.

        Raises:
            BundleError: the engine does not load it.
        """
