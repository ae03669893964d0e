"""A compiled model in this process: its bytes loaded as they are, its constants, its function."""

from __future__ import annotations

import _ctypes
import ctypes
import errno
import itertools
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.config import Signature
from pe_deploy.errors import BundleError, line_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GLUE = "library.c"
"""The file that is compiled; it includes the model."""

CONSTANTS = (
    *("abi", "vocab_size", "min_length", "max_length", "pad_id"),
    *("outputs", "per_token", "label_count", "stack_bytes"),
)
"""What a library tells of itself, in this order; `pad_id` is -1 where there is none."""

_ABI = 1
_TABLE, _FUNCTION = "pe_deploy_constants", "pe_deploy_predict"
NOT_FINITE = -1
"""The code of an answer with a number that is not finite; no model gives it itself."""

_MFD_EXEC = 0x10  # linux/memfd.h; older kernels do not know it, and do not need it
_serial = itertools.count()


def glue(name: str) -> bytes:
    """The C of `GLUE`: the model, a table of its constants, which are macros, and a function.

    The function answers padding with 0, where a model of tokens has no answer, and looks whether
    each number is finite: in Python either takes as long as a small model does for a row.

    Args:
        name: what begins the names of the model's functions.
    """
    own = name.upper()
    return f"""#include "model.c"
#include <string.h>
#ifdef {own}_PAD_ID
#define PE_DEPLOY_PAD_ID {own}_PAD_ID
#else
#define PE_DEPLOY_PAD_ID (-1)
#endif
extern const int64_t {_TABLE}[{len(CONSTANTS)}];
const int64_t {_TABLE}[{len(CONSTANTS)}] = {{
    {_ABI}, {own}_VOCAB_SIZE, {own}_MIN_LENGTH, {own}_MAX_LENGTH, PE_DEPLOY_PAD_ID,
    {own}_OUTPUTS, {own}_PER_TOKEN, {own}_LABEL_COUNT, {own}_STACK_BYTES}};
int {_FUNCTION}(const int64_t *const *ids_at, size_t first, size_t rows, size_t length,
    float *const *logits_at);
int {_FUNCTION}(const int64_t *const *ids_at, size_t first, size_t rows, size_t length,
    float *const *logits_at) {{
    const size_t answers = {own}_PER_TOKEN ? length : 1;
    const int64_t *const ids = *ids_at + first * length;
    float *const logits = *logits_at + first * answers * {own}_OUTPUTS;
    const int code = {name}_predict(ids, rows, length, logits);
    if (code) return code;
    uint32_t found = 0;
    for (size_t answer = 0; answer < rows * answers; ++answer) {{
        float *const own = logits + answer * {own}_OUTPUTS;
        if ({own}_PER_TOKEN && ids[answer] == PE_DEPLOY_PAD_ID)
            memset(own, 0, {own}_OUTPUTS * sizeof *own);
        for (size_t i = 0; i < {own}_OUTPUTS; ++i) {{
            uint32_t bits;
            memcpy(&bits, own + i, sizeof bits);
            found |= (bits & 0x7f800000u) == 0x7f800000u;
        }}
    }}
    return found ? {NOT_FINITE} : 0;
}}
""".encode()


class Library:
    """A loaded library, which is unloaded when nobody holds this object any more.

    Args:
        data: its bytes, which were checked: just these are loaded.
        name: what begins the names of its functions.
        where: what to call it in an error.

    Attributes:
        predict: the C function: the place of ids, the first row, how many rows, their length, the
            place for logits, both as from `place_of`. It returns a code, 0 for an answer,
            `NOT_FINITE` for one that is none, and runs without Python's global lock.
        constants: by the names of `CONSTANTS`.

    Raises:
        BundleError: the system does not load it, or it lacks what it should export.
    """

    def __init__(self, data: bytes, name: str, where: str) -> None:
        library = _opened(data, where)
        weakref.finalize(self, _unload, library._handle).atexit = False
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        try:
            self.predict: Callable[[Any, int, int, int, Any], int] = _declared(
                library[_FUNCTION], ctypes.c_int, pointer, size, size, size, pointer
            )
            self._message = _declared(library[f"{name}_message"], ctypes.c_char_p, ctypes.c_int)
            table = list((ctypes.c_int64 * len(CONSTANTS)).in_dll(library, _TABLE))
        except (AttributeError, ValueError) as error:
            raise BundleError(f"{where} is no build of a model: {_reason(error)}") from error
        self.constants = dict(zip(CONSTANTS, table, strict=True))

    def message(self, code: int) -> str:
        """The words for a code of `predict`."""
        said: bytes | None = self._message(code)
        return said.decode(errors="replace") if said else f"code {code}"

    def check(self, signature: Signature, label_count: int, where: str) -> None:
        """Check that the library is of a model of this signature.

        Raises:
            BundleError: naming the constant that differs.
        """
        columns = [axis for axis in signature.output_axes if isinstance(axis, int)]
        expected = {
            "abi": _ABI,
            "vocab_size": signature.vocab_size,
            "min_length": signature.min_length,
            "max_length": signature.max_length,
            "pad_id": -1 if signature.pad_id is None else signature.pad_id,
            "outputs": columns[0] if columns else 1,
            "per_token": int(signature.task == "tokens"),
            "label_count": label_count,
        }
        for name, value in expected.items():
            if (found := self.constants[name]) != value:
                raise BundleError(
                    f"{where} is of another model: its {name} is {found}, not {value}"
                )


_unload = getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


def _opened(data: bytes, where: str) -> ctypes.CDLL:
    failed: OSError | None = None
    for place in (_in_memory, _in_own_folder):
        try:
            with place(data) as path:
                return ctypes.CDLL(path)
        except OSError as error:
            if failed is None or failed.errno == errno.ENOSYS:
                failed = error
    raise BundleError(f"{where}: this system does not load it: {_reason(failed)}") from failed


def _reason(error: object) -> str:
    """What the system says, without the path of a file that is there for a moment."""
    return line_of(error).partition(": ")[2] or line_of(error)


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes that is in memory alone, and has no name for others."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        descriptor = os.memfd_create("pe_deploy", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError:
        descriptor = os.memfd_create("pe_deploy", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - no path
        file.write(data)
        file.flush()
        # By a path that was never used: glibc takes one that it knows for the library that it
        # found there before. So the slashes count.
        slashes = "".join(("//", "/.")[digit == "1"] for digit in f"{next(_serial):b}")
        yield f"/proc/self/fd{slashes}/{descriptor}"


@contextmanager
def _in_own_folder(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes in a folder that only this user may enter."""
    # Windows removes no file that is loaded.
    with tempfile.TemporaryDirectory(
        prefix="pe_deploy-", ignore_cleanup_errors=os.name == "nt"
    ) as folder:
        path = Path(folder) / "library"
        path.write_bytes(data)
        yield str(path)


def _place_by_layout(array: NDArray[Any]) -> int:
    """Where it stands at which address an array's numbers begin: in the array's own head.

    There every extension finds it that was compiled for numpy. By numpy's own attributes it takes
    1 µs, by this 0.07.
    """
    return id(array) + _HEAD


def _place_by_numpy(array: NDArray[Any]) -> Any:
    return ctypes.byref(ctypes.c_void_p(array.ctypes.data))


_HEAD = object.__basicsize__


def _layout_is_known() -> bool:
    probes = [np.empty(size, np.int64) for size in (1, 7)]
    pointer_at = ctypes.c_void_p.from_address
    return sys.implementation.name == "cpython" and all(
        pointer_at(_place_by_layout(probe)).value == probe.ctypes.data for probe in probes
    )


place_of: Callable[[NDArray[Any]], Any] = (
    _place_by_layout if _layout_is_known() else _place_by_numpy
)
