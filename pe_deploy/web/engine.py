"""onnxruntime-web out of a folder of npm: the two files of it that run a model in a browser."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from pe_deploy.errors import MissingDependencyError

PACKAGE = "onnxruntime-web"
OLDEST = (1, 20)
"""The first with a build that is one script, and one file of WebAssembly."""

_SCRIPT = "ort.wasm.bundle.min.mjs"
_WASM = "ort-wasm-simd-threaded.wasm"
_INSTALL = f"run: npm install {PACKAGE}"


def engine_files(package: Path) -> tuple[str, dict[str, bytes]]:
    """The version of onnxruntime-web, and its files by the names that they have in a site.

    The build for WebAssembly alone is a quarter of those that know WebGPU. It is packed, since most
    servers send WebAssembly as it is: the browser downloads 4 MB in place of 14.

    Args:
        package: `node_modules/onnxruntime-web`.

    Raises:
        MissingDependencyError: it is not there, is something else, too old, or lacks a file.
    """
    try:
        stated = json.loads((package / "package.json").read_bytes())
        name, version = stated["name"], stated["version"]
    except (OSError, ValueError, TypeError, KeyError):
        raise MissingDependencyError(f"{package} is no npm package; {_INSTALL}") from None
    if name != PACKAGE:
        raise MissingDependencyError(f"{package} is {name}; allowed: {PACKAGE}; {_INSTALL}")
    numbers = re.match(r"(\d+)\.(\d+)\.", str(version))
    if not numbers or not OLDEST <= (int(numbers[1]), int(numbers[2])) < (2, 0):
        allowed = f"allowed: {OLDEST[0]}.{OLDEST[1]} to below 2; {_INSTALL}@1"
        raise MissingDependencyError(f"{package} is version {version}; {allowed}")
    try:
        script = (package / "dist" / _SCRIPT).read_bytes()
        wasm = (package / "dist" / _WASM).read_bytes()
    except OSError as error:
        missing = Path(str(error.filename)).name
        raise MissingDependencyError(f"{package}/dist lacks {missing}; {_INSTALL}") from error
    # A map of the source would be looked for beside it.
    script = re.sub(rb"\n//# sourceMappingURL=.*\s*\Z", b"\n", script)
    packed = gzip.compress(wasm, 9, mtime=0)
    return version, {
        "onnxruntime/ort.wasm.bundle.min.js": script,
        f"onnxruntime/{_WASM}.gz": packed,
    }
