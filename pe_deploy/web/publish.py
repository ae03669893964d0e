"""Put a site into its folder, whole or not at all, and only where nothing else is lost."""

from __future__ import annotations

from pathlib import Path

from pe_deploy.errors import DataError, printable
from pe_deploy.storage import strict_json
from pe_deploy.storage.atomic import check_writable, publishing
from pe_deploy.web.site import FORMAT, RECORD, Site

_LARGEST_RECORD = 2**20


def publish(site: Site, output: Path) -> None:
    """Write a site; a site that is there is replaced, and anything else is not.

    Raises:
        DataError: `output` has no name of its own, or holds other things than a site's.
        OSError: it cannot be written.
    """
    check_place(output)
    with publishing(output) as folder:
        for name, data in site.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def check_place(output: Path) -> None:
    """Refuse to replace what is not a site.

    Raises:
        DataError: as `publish` raises it.
        OSError: likewise.
    """
    if not output.name:
        raise DataError(f"{str(output)!r} names no folder; give the site a name of its own")
    check_writable(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    own = _own_files(output)
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    # Of a folder that is none of its own, the folder is named.
    foreign = sorted({name.split("/")[0] for name in found - own})
    if foreign:
        held = ", ".join(map(printable, foreign))
        raise DataError(f"{output} holds {held}, which is not of its site; move it elsewhere")


def _own_files(output: Path) -> set[str]:
    """What the site in a folder says it holds."""
    try:
        with (output / RECORD).open("rb") as file:
            record = strict_json.loads(file.read(_LARGEST_RECORD))
        if record["format"] != FORMAT:
            raise ValueError
        return {RECORD, *record["files"]}
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(
            f"{output} is there and is not a site of pe-deploy; choose another place"
        ) from None
