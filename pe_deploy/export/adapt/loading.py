"""`model.py:NAME`: a module out of a user's own file, which runs as the user.

The file's folder can be imported from while it runs, as under `python model.py`; the working folder
and `sys.path` are as before afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from pe_deploy.errors import ExportError
from pe_deploy.export.adapt.blame import blamed, is_users
from pe_deploy.export.adapt.copying import unwrapped
from pe_deploy.storage.digest import sha256
from pe_deploy.training.fit import fit_state
from pe_deploy.training.weight_files import read_weights

Value = int | float | bool | str


class Loaded(NamedTuple):
    """A user's module and where it came from.

    Attributes:
        module: as its file makes it, with its weights.
        origin: its name and the SHA-256 of its file, for the manifest.
        notes: a line on each thing that was done to read its weights.
    """

    module: nn.Module
    origin: Mapping[str, str]
    notes: tuple[str, ...] = ()


def is_target(text: str) -> bool:
    """Whether a text names something in a file or a package, as `model.py:NAME` does."""
    place, colon, name = text.rpartition(":")
    return bool(colon and place) and name.isidentifier() and not Path(text).exists()


def load_module(
    target: str, weights: str | Path | None = None, arguments: Iterable[str] = ()
) -> Loaded:
    """Run a file, and take a module out of it.

    Args:
        target: `path/to/model.py:NAME` or `package.module:NAME`, where NAME is an `nn.Module` or
            one of its classes, or a function that returns one.
        weights: a file or folder that `read_weights` takes; None where NAME brings its own.
        arguments: `key=value` each, for the class or the function.

    Raises:
        ExportError: there is no such file or name, the file fails, or what it gives is no module.
        CheckpointError: the weights cannot be read, or do not fit the module.
    """
    place, _, name = target.rpartition(":")
    given = dict(map(parsed, arguments))
    read = None if weights is None else read_weights(weights)  # before any code runs
    with _as_if_run(place):
        code = _imported(place)
        found = getattr(code, name, None)
        if found is None:
            have = ", ".join(_candidates(code)) or "no module, class or function of its own"
            raise ExportError(f"{place} has no {name!r}; it has {have}")
        if isinstance(found, nn.Module):
            if given:
                raise ExportError(f"{target} is a module already; allowed: no --arg with it")
            module = found
        elif callable(found):
            module = _made(found, target, given)
        else:
            raise ExportError(
                f"{target} is a {type(found).__name__}; allowed: an nn.Module, a class of it, or a "
                "function that returns one"
            )
    module, notes = unwrapped(module)
    if read is not None:
        notes += tuple(f"weights: {note}" for note in fit_state(module, read))
    origin = {"name": name}
    if code.__file__:
        origin["file_sha256"] = sha256(Path(code.__file__).read_bytes())
    return Loaded(module, origin, notes)


def parsed(text: str) -> tuple[str, Value]:
    """`key=value` with the value as an int, a float, true or false, or else as text.

    Raises:
        ExportError: there is no `=` in it, or no name before it.

    >>> parsed("hidden=64"), parsed("dropout=0.1"), parsed("bidirectional=true")
    (('hidden', 64), ('dropout', 0.1), ('bidirectional', True))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ExportError(f"--arg is {text!r}; allowed: key=value, such as hidden=64")
    words: dict[str, Value] = {"true": True, "false": False}
    if value.lower() in words:
        return key, words[value.lower()]
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def _made(found: Any, target: str, given: dict[str, Value]) -> nn.Module:
    try:
        inspect.signature(found).bind(**given)
    except TypeError as error:
        shown = inspect.signature(found)
        raise ExportError(
            f"{target}{shown} cannot be called: {error}; give what it needs by --arg key=value"
        ) from error
    except ValueError:  # it does not say what it takes
        pass
    try:
        module = found(**given)
    except Exception as error:
        raise ExportError(f"{target} fails: {blamed(error)}") from error
    if not isinstance(module, nn.Module):
        raise ExportError(f"{target} gives a {type(module).__name__}; allowed: an nn.Module")
    return module


def _imported(place: str) -> ModuleType:
    path = Path(place)
    try:
        if path.suffix != ".py":
            return importlib.import_module(place)
        if not path.is_file():
            raise ExportError(f"{place}: no such file")
        # Under a name of its own, where a library has that name already.
        taken = sys.modules.get(path.stem)
        known = path.stem in sys.stdlib_module_names or (
            taken is not None
            and not is_users(str(getattr(taken, "__file__", None) or "<built-in>"))
        )
        name = f"users_{path.stem}" if known else path.stem
        spec = importlib.util.spec_from_file_location(name, path.resolve())
        if spec is None or spec.loader is None:
            raise ExportError(f"{place}: Python cannot load it")
        code = importlib.util.module_from_spec(spec)
        sys.modules[name] = code  # where dataclasses and torch.jit look its classes up
        spec.loader.exec_module(code)
    except ExportError:
        raise
    except (Exception, SystemExit) as error:
        raise ExportError(f"{place} fails: {blamed(error)}") from error
    return code


@contextmanager
def _as_if_run(place: str) -> Iterator[None]:
    """The file's folder, or the working folder for a package, comes first where imports look."""
    here, argv, before = Path.cwd(), sys.argv, list(sys.path)
    dtype, level, handlers = torch.get_default_dtype(), logging.root.level, [*logging.root.handlers]
    folder = Path(place).resolve().parent if place.endswith(".py") else here
    _forget_others(folder)
    sys.path.insert(0, str(folder))
    sys.argv = [place]
    try:
        yield
    finally:
        sys.path[:] = before
        sys.argv = argv
        torch.set_default_dtype(dtype)
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        os.chdir(here)


_folders: set[str] = set()
"""Those of which files were run before."""


def _forget_others(folder: Path) -> None:
    """Import anew what another folder's file has imported from beside itself, under this name."""
    for name, code in list(sys.modules.items()):
        file = getattr(code, "__file__", None)
        if file and str(Path(file).parent) in _folders - {str(folder)}:
            del sys.modules[name]
    _folders.add(str(folder))


def _candidates(code: ModuleType) -> list[str]:
    """What a file has that may have been meant, at most ten names."""
    names = [
        name
        for name, value in vars(code).items()
        if not name.startswith("_")
        and (
            isinstance(value, nn.Module)
            or (callable(value) and getattr(value, "__module__", "") == code.__name__)
        )
    ]
    return names[:10]
