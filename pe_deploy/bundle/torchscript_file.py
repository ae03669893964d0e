"""What can be seen of `model.pt` without torch, which would run it."""

from __future__ import annotations

from pe_deploy.bundle.artifacts import CONFIG_KEY, MIB, TORCHSCRIPT, largest
from pe_deploy.errors import BundleError, errors_as
from pe_deploy.storage.strict_zip import StrictZip


def torchscript_config(data: bytes) -> bytes:
    """The config that the exporter put among the extra files of a TorchScript archive.

    Raises:
        BundleError: it is no plain zip archive, has more than one folder in it, or no config.
    """
    with errors_as(BundleError):
        archive = StrictZip(data, TORCHSCRIPT, largest(TORCHSCRIPT))
        # torch reads the folder that the first member is in.
        folders = {member.split("/")[0] for member in archive.members}
        if len(folders) != 1:
            raise ValueError(f"{TORCHSCRIPT} holds {len(folders)} folders; allowed: 1")
        member = f"{folders.pop()}/extra/{CONFIG_KEY}"
        if member not in archive.members:
            raise ValueError(f"{TORCHSCRIPT} does not say which export it is of: it lacks {member}")
        if archive.members[member].file_size > MIB:
            raise ValueError(f"{TORCHSCRIPT}: {member} has over {MIB} bytes")
        return archive.read(member)
