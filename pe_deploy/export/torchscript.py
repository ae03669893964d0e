"""A module as TorchScript that loads where pe_deploy is not installed."""

from __future__ import annotations

import inspect
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn

from pe_deploy.config import Signature
from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.adapter import IdsToLogits, name_of
from pe_deploy.export.adapt.blame import blamed
from pe_deploy.export.adapt.copying import frozen_copy
from pe_deploy.export.adapt.exact import slow_attention
from pe_deploy.export.torchscript_guards import Guarded
from pe_deploy.export.tracing import traced
from pe_deploy.runtime.torchscript import jit_deprecation_ignored

_NOT_NEEDED = (".debug_pkl", ".data/serialization_id")
"""Source locations, which name this machine's folders, and a digest that covers them."""

_MANGLED = re.compile(rb"___torch_mangle_\d+")


def to_torchscript(
    module: nn.Module, signature: Signature, extra_files: Mapping[str, str] | None = None
) -> bytes:
    """Script and freeze a module behind the checks of its input; batch and sequence stay free.

    What `torch.jit.script` does not take is traced, if the trace follows other shapes.

    Args:
        module: any module that `torch.jit.script` or `torch.jit.trace` takes.
        signature: what the module takes and gives.
        extra_files: texts to keep in the archive, by name.

    Returns:
        The bytes of a file for `torch.jit.load`; the same module gives the same bytes.

    Raises:
        ExportError: the module can neither be scripted nor traced.
    """
    prepared, name, extra = frozen_copy(module), name_of(module), extra_files or {}
    with jit_deprecation_ignored(), _sources_read_once(), slow_attention():
        try:
            if not isinstance(prepared, IdsToLogits):
                return _archived(prepared, signature, extra)
            # What calls a module is traced; the module itself may hold branches and loops.
            scripted = torch.jit.script(prepared.module)
            if prepared.ending is None:
                return _archived(traced(prepared.around(scripted), signature), signature, extra)
        except Exception as error:  # noqa: BLE001 - told, if a trace will not do either
            scripting: Exception | None = error
        else:
            scripting = None
        try:
            return _archived(traced(prepared, signature), signature, extra)
        except Exception as error:
            why = "" if scripting is None else f": {blamed(scripting)}"
            other = str(error) if isinstance(error, ExportError) else blamed(error)
            raise ExportError(
                f"torch cannot script {name}{why}, and {other}; "
                "--format onnx leaves TorchScript out"
            ) from error


def is_scriptable(module: nn.Module) -> bool:
    """Whether `torch.jit.script` takes a module; else its TorchScript is a trace."""
    try:
        with jit_deprecation_ignored(), _sources_read_once():
            torch.jit.script(frozen_copy(module))
    except Exception:  # noqa: BLE001 - it says so in many ways
        return False
    return True


def _archived(module: nn.Module, signature: Signature, extra_files: Mapping[str, str]) -> bytes:
    """The bytes of a module, plain or traced, behind the checks of its input."""
    frozen = torch.jit.freeze(torch.jit.script(Guarded(module, signature).eval()))
    buffer = io.BytesIO()
    # Saved to memory, not to a path: torch names the archive after the path.
    torch.jit.save(frozen, buffer, _extra_files=dict(extra_files))
    return _canonical(buffer.getvalue())


_lines_of = lru_cache(maxsize=4096)(inspect.getsourcelines)


@contextmanager
def _sources_read_once() -> Iterator[None]:
    """Let torch find the source of a class by its first look at it.

    It asks for that of each method of `nn.Module`, for each submodule, and `inspect` parses the
    whole file every time: more than half of what scripting takes.
    """
    before = inspect.getsourcelines
    inspect.getsourcelines = _lines_of  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getsourcelines = before


def _canonical(archive: bytes) -> bytes:
    """Write the archive again without what depends on where and when it was made.

    torch numbers the classes that it has scripted in this process; here they are numbered anew,
    from the first in the archive.
    """
    source = zipfile.ZipFile(io.BytesIO(archive))
    numbers: dict[bytes, bytes] = {}

    def renumber(match: re.Match[bytes]) -> bytes:
        return numbers.setdefault(match[0], b"___torch_mangle_%d" % len(numbers))

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as rewritten:
        for entry in source.infolist():
            if not entry.filename.endswith(_NOT_NEEDED):
                name = _MANGLED.sub(renumber, entry.filename.encode()).decode()
                content = source.read(entry)
                if entry.filename.endswith((".py", ".pkl")):
                    content = _MANGLED.sub(renumber, content)
                rewritten.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()
