"""Signatures of whole bundles, by OpenSSF model-signing with an elliptic-curve key, offline.

https://github.com/sigstore/model-transparency. `model.sig` covers every other file of the bundle;
`model_signing verify key` checks it too. Digests in a manifest show damage; only a signature shows
who published.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pe_deploy.bundle.artifacts import README, SIGNATURE
from pe_deploy.errors import BundleError, InvalidInputError, line_of, requires_extra


def signer(private_key: str | Path) -> Callable[[Mapping[str, bytes], str], bytes]:
    """What signs with a key, which is read at once: a wrong one shows before any work is done.

    It makes `model.sig` from every file of a bundle, by name, and the bundle's name.

    Args:
        private_key: a PEM file with an unencrypted key on P-256, P-384 or P-521.

    Raises:
        InvalidInputError: the key cannot be read, or is of another kind.
        MissingDependencyError: model-signing is not installed.
    """
    with requires_extra("sign"):
        from model_signing import signing

    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise _bad_key("private", private_key, error) from error

    def sign(files: Mapping[str, bytes], name: str) -> bytes:
        with _written(files, name) as folder:
            signature = folder.with_name(SIGNATURE)
            config.sign(folder, signature)
            return signature.read_bytes()

    return sign


def check_signature(
    files: Mapping[str, bytes], signature: bytes, public_key: str | Path, name: str
) -> None:
    """Check that the owner of a key signed exactly these files.

    The bytes are those that were read, not those on the disk, which may have changed since.

    Args:
        files: every file, the manifest among them, by name; `README.md` is left out where the
            signature does not cover it.
        signature: the bytes of `model.sig`.
        public_key: a PEM file.
        name: what to call the bundle in an error.

    Raises:
        BundleError: it is another's signature, or not of these files.
        InvalidInputError: the key cannot be read, or is of another kind.
        MissingDependencyError: model-signing is not installed.
    """
    with requires_extra("sign"):
        from model_signing import verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise _bad_key("public", public_key, error) from error
    if README not in _covered(signature):
        files = {file: data for file, data in files.items() if file != README}
    with _written(files, "bundle") as folder:
        path = folder.with_name(SIGNATURE)
        path.write_bytes(signature)
        try:
            config.verify(folder, path)  # one line of the library's tells what differs
        except Exception as error:
            raise BundleError(f"{name} is not signed by {public_key}: {line_of(error)}") from error


def _covered(signature: bytes) -> set[str]:
    """The names that a signature claims to cover; none where it is malformed."""
    try:
        payload = base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"])
        return {resource["name"] for resource in json.loads(payload)["predicate"]["resources"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


@contextmanager
def _written(files: Mapping[str, bytes], name: str) -> Iterator[Path]:
    """A folder of this name, alone in a temporary one, with the files."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / name
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        yield folder


def _bad_key(kind: str, path: str | Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{kind} key {path} cannot be used: {line_of(error)}; "
        "allowed: a PEM file with a key on P-256, P-384 or P-521, without a password"
    )
