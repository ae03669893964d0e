"""What a page needs of npm's packages: of each, the few files that a browser runs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from pe_deploy.errors import MissingDependencyError

ENGINE = "onnxruntime-web"
TOKENIZERS = "@huggingface/tokenizers"
_VERSIONS = {ENGINE: ((1, 20), (2, 0)), TOKENIZERS: ((0, 1), (1, 0))}
"""The oldest that is taken, and the first that is not: since 1.20 there is a build of
onnxruntime-web that is one script, and one file of WebAssembly."""

_WASM = "ort-wasm-simd-threaded.wasm"
_MAP = re.compile(rb"\n//# sourceMappingURL=.*\s*\Z")


def engine_files(package: Path) -> tuple[str, dict[str, bytes]]:
    """The version of onnxruntime-web, and its files by the names that they have in a site.

    The build for WebAssembly alone is half as large as those that know WebGPU. It is packed, since
    many servers send WebAssembly as it is: a browser downloads 4 MB in place of 14. Its name does
    not end with `.gz`, since some servers would have the browser unpack that on the way.

    Args:
        package: `node_modules/onnxruntime-web`.

    Raises:
        MissingDependencyError: it is not there, is something else, of a version that is not
            known, or lacks a file.
    """
    version = _version_of(package, ENGINE)
    script = _read(package, ENGINE, "ort.wasm.bundle.min.mjs")
    wasm = _read(package, ENGINE, _WASM)
    return version, {
        # A browser would look for the map of the source.
        "onnxruntime/ort.wasm.bundle.min.js": _MAP.sub(b"\n", script),
        f"onnxruntime/{_WASM}.packed": gzip.compress(wasm, 9, mtime=0),
    }


def tokenizers_files(package: Path) -> dict[str, bytes]:
    """The library that reads a `tokenizer.json`, by the name that it has in a site.

    Args:
        package: `node_modules/@huggingface/tokenizers`.

    Raises:
        MissingDependencyError: as `engine_files` raises it.
    """
    _version_of(package, TOKENIZERS)
    script = _read(package, TOKENIZERS, "tokenizers.min.mjs")
    return {"tokenizers/tokenizers.min.js": _MAP.sub(b"\n", script)}


def _version_of(package: Path, wanted: str) -> str:
    install = f"run: npm install {wanted}"
    try:
        stated = json.loads((package / "package.json").read_bytes())
        name, version = str(stated["name"]), str(stated["version"])
    except (OSError, ValueError, TypeError, KeyError):
        raise MissingDependencyError(f"{package} is no package of npm; {install}") from None
    if name != wanted:
        raise MissingDependencyError(f"{package} is {name}; allowed: {wanted}; {install}")
    oldest, unknown = _VERSIONS[wanted]
    found = re.match(r"(\d+)\.(\d+)\.", version)
    if found is None or not oldest <= (int(found[1]), int(found[2])) < unknown:
        allowed = f"{'.'.join(map(str, oldest))} to below {'.'.join(map(str, unknown))}"
        raise MissingDependencyError(f"{package} has version {version}; allowed: {allowed}")
    return version


def _read(package: Path, wanted: str, name: str) -> bytes:
    path = package / "dist" / name
    try:
        return path.read_bytes()
    except OSError:
        install = f"run: npm install {wanted}"
        raise MissingDependencyError(f"{path} cannot be read; {install}") from None
