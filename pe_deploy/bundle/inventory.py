"""What a bundle's folder holds beside, instead of, and less than its manifest lists.

None of it keeps an app from running what is there; people and registries want to know.
"""

from __future__ import annotations

from typing import NamedTuple

from pe_deploy.bundle.artifacts import MANIFEST, README, SIGNATURE
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.manifest import FileRecord
from pe_deploy.errors import BundleError, errors_as


class Inventory(NamedTuple):
    """A folder against its manifest.

    Attributes:
        missing: what the manifest lists and is not there.
        changed: documentation that an older bundle's manifest lists, and that is not as it was.
        unlisted: what is there and is not part of the bundle; none of it was opened.
    """

    missing: list[str]
    changed: list[str]
    unlisted: list[str]


def inventory_of(bundle: Bundle) -> Inventory:
    """Compare a folder with the bundle that `open_bundle`, or `open_parts` of all, read from it.

    Raises:
        BundleError: the folder cannot be read.
    """
    manifest, missing, changed = bundle.manifest, bundle.missing, []
    if README in manifest.files:
        try:
            readme = bundle.read_beside(README)
        except BundleError:
            changed.append(README)  # it is no file, or too large
        else:
            if readme is None:
                missing.append(README)
            elif FileRecord.of(readme) != manifest.files[README]:
                changed.append(README)
    own = {MANIFEST, SIGNATURE, README, *manifest.files}
    with errors_as(BundleError, f"{bundle.path} cannot be read: ", OSError):
        present = sorted(path.name for path in bundle.path.iterdir())
    return Inventory(missing, changed, [name for name in present if name not in own])


def check_strictly(bundle: Bundle) -> None:
    """Check that the folder holds just what was published, as a registry would want it.

    Raises:
        BundleError: naming what is missing, changed, or not part of the bundle.
    """
    found = inventory_of(bundle)
    wrong = {
        f"lacks {listed(found.missing)}": found.missing,
        f"has a changed {listed(found.changed)}": found.changed,
        f"holds {listed(found.unlisted)}, which its {MANIFEST} does not list": found.unlisted,
    }
    if any(found):
        told = " and ".join(text for text, names in wrong.items() if names)
        raise BundleError(f"{bundle.path} {told}")


def listed(names: list[str]) -> str:
    """Names on a disk in one printable line, not all of them where they are many."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:20]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
