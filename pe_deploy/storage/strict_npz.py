"""Arrays in an archive from a stranger: numbers and text, and no more than is there."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.storage.strict_zip import StrictZip

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The header as numpy writes it, for arrays of numbers and of text. Read by numpy, it would be
# evaluated as Python, might name any dtype, and could state a shape that is not there.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype><i8|<i4|<f8|<f4|\|u1|<U[1-9]\d{0,6})', "
    rb"'fortran_order': False, 'shape': \((?P<shape>[\d, ]{1,200})\), \} *\n",
    re.DOTALL,
)


def read_array(archive: StrictZip, member: str) -> NDArray[Any]:
    """An array whose header states just what follows it.

    Raises:
        ValueError: there is none, or it holds something else than numbers and text.
    """
    content = archive.read(member)
    header = _HEADER.match(content)
    if header is None or int.from_bytes(header["length"], "little") != header.end() - 10:
        raise ValueError(
            f"{archive.name}: {member[:100]!r} is malformed; allowed: an array of numbers or text"
        )
    dtype = np.dtype(header["dtype"].decode())
    try:
        shape = tuple(int(size) for size in header["shape"].decode().split(",") if size.strip())
        if math.prod(shape) * dtype.itemsize != len(content) - header.end():
            raise ValueError(f"{len(content) - header.end()} bytes for {dtype} {list(shape)}")
        # Copied, because torch takes no array that it might not write to.
        array = np.frombuffer(content, dtype, offset=header.end()).reshape(shape).copy()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{archive.name}: {member[:100]!r} is malformed: {error}") from error
    if dtype.kind == "U" and (array.reshape(-1).view(np.uint32) > 0x10FFFF).any():
        raise ValueError(f"{archive.name}: {member[:100]!r} holds what is no text")
    return array
