"""Where a bundle may be put: a slip must not cost a folder of other files."""

from __future__ import annotations

from pathlib import Path

from pe_deploy.bundle.artifacts import MANIFEST, README, SIGNATURE
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.errors import BundleError, ExportError
from pe_deploy.storage.atomic import check_writable

_LOOKS = 20  # at what is to be replaced, while another export replaces it


def check_destination(output: Path) -> None:
    """Refuse to replace what is not a bundle.

    Raises:
        ExportError: `output` has no name of its own, or holds other things than a bundle's.
        OSError: it cannot be written.
    """
    if not output.name:
        raise ExportError(f"{str(output)!r} names no folder; give the bundle a name of its own")
    check_writable(output)
    for _ in range(_LOOKS):
        before = _which(output)
        try:
            return _check_replaceable(output)
        except (ExportError, OSError):
            if _which(output) == before:
                raise
    raise ExportError(f"{output} is replaced all the time by another process; try again")


def _which(path: Path) -> tuple[int, int] | None:
    """Tells folders apart that are at one path one after the other."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def _check_replaceable(output: Path) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        manifest = Manifest.from_json((output / MANIFEST).read_bytes())
    except (BundleError, OSError) as error:
        raise ExportError(
            f"{output} is there and is not a bundle; choose another place: {error}"
        ) from error
    own = {MANIFEST, README, SIGNATURE, *manifest.files}
    foreign = sorted({path.name for path in output.iterdir()} - own)
    if foreign:
        raise ExportError(
            f"{output} holds {', '.join(foreign)}, which is not of its bundle; move it elsewhere"
        )
