"""A bundle's C, compiled for a machine: made, published in a folder of its own, and read again."""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pe_deploy.bundle.artifacts import C_HEADER, C_SOURCE
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.manifest import FileRecord
from pe_deploy.errors import BundleError, ExportError, errors_as, line_of, printable
from pe_deploy.machine import processor_features, processor_name
from pe_deploy.runtime.native_compiler import compile_library, compiler
from pe_deploy.runtime.native_library import GLUE, glue
from pe_deploy.storage import strict_json
from pe_deploy.storage.atomic import check_writable, publishing
from pe_deploy.storage.digest import OWN_DIGEST, own_digest_holds, with_own_digest
from pe_deploy.storage.folder import open_folder

RECORD = "build.json"
LIBRARY = "model.so"
FORMAT = "pe_deploy.build"
FORMAT_VERSION = 1

_AGAIN = "run: pe-deploy build"
_LARGEST_RECORD = 2**20
_LARGEST_LIBRARY = 2**31 - 1
_ATTEMPTS = 10
_NAME = re.compile(r"^int ([A-Za-z_]\w*)_predict\(", re.M)


@dataclass(frozen=True)
class Build:
    """A compiled model, and what it was made of, by and for.

    Attributes:
        library: the bytes of the shared library.
        name: what begins the names of its functions.
        weights_sha256: of the bundle.
        sources: the record of each file of the bundle that was compiled.
        compiler: the program and the first line that it says of itself.
        flags: that the compiler was given.
        system, machine, bits: as Python's `platform` names them, and the size of an address.
        processor: its name.
        features: what the processor has to have, in Linux's words; empty where none are known.
        share_rows: the fewest rows that are worth handing to another thread; 0 if not measured.
        where: the folder that it was read from; empty for one that is in memory alone.
    """

    library: bytes = field(repr=False)
    name: str
    weights_sha256: str
    sources: Mapping[str, FileRecord]
    compiler: str
    flags: tuple[str, ...]
    system: str
    machine: str
    bits: int
    processor: str
    features: tuple[str, ...]
    share_rows: int = 0
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}/{LIBRARY}" if self.where else "the build in memory"

    def check(
        self, weights_sha256: str, sources: Mapping[str, FileRecord], bundle: str | Path
    ) -> None:
        """Check that it is of a bundle, and runs on this machine, before any of it is loaded.

        Args:
            weights_sha256: as the bundle's manifest states it.
            sources: as from `sources_of` the bundle.
            bundle: its folder.

        Raises:
            BundleError: it was made of other sources or for other weights, or for a machine that
                this is not.
        """
        if self.weights_sha256 != weights_sha256:
            raise BundleError(
                f"{self} is of another bundle than {bundle}: its weights_sha256 is "
                f"{self.weights_sha256}, in the bundle {weights_sha256}; {_AGAIN} {bundle}"
            )
        if sources != self.sources:
            changed = next(
                (name for name in sources if self.sources.get(name) != sources[name]), ""
            )
            raise BundleError(
                f"{self} was made of another {changed or C_SOURCE} than that of {bundle}; "
                f"{_AGAIN} {bundle}"
            )
        self.check_machine()

    def check_machine(self) -> None:
        """Check that this processor has what the library may use.

        Raises:
            BundleError: naming what it lacks: to run it would end the process.
        """
        here = (platform.system(), platform.machine(), _bits())
        if (made_for := (self.system, self.machine, self.bits)) != here:
            raise BundleError(
                f"{self} is for {_machine(made_for)}; this is {_machine(here)}: {_AGAIN} here"
            )
        known = processor_features()
        if lacking := sorted({*self.features} - known):
            raise BundleError(
                f"{self} is for {self.processor}; this processor lacks {', '.join(lacking)}: "
                f"{_AGAIN} here"
            )
        if not (known or self.features) and self.processor != (name := processor_name()):
            raise BundleError(f"{self} is for {self.processor}; this is {name}: {_AGAIN} here")

    def to_json(self) -> bytes:
        """The bytes of `build.json`, its own digest at the end."""
        values = asdict(self)
        del values["where"]
        values["sources"] = {name: record._asdict() for name, record in self.sources.items()}
        values["library"] = {"file": LIBRARY, **FileRecord.of(self.library)._asdict()}
        return with_own_digest({"format": FORMAT, "format_version": FORMAT_VERSION, **values})


def compile_bundle(bundle: Bundle) -> Build:
    """Compile a bundle's C for this machine; nothing is written that stays.

    Raises:
        BundleError: the bundle holds no `model.c`, or not as it was published.
        MissingDependencyError: there is no C compiler.
        ExportError: the compiler refuses it.
    """
    sources = {name: bundle.read(name) for name in sources_of(bundle)}
    where = f"{bundle.folder}/{C_SOURCE}"
    names = {*_NAME.findall(sources[C_HEADER].decode(errors="replace"))}
    if len(names) != 1:
        raise BundleError(
            f"{where}: {C_HEADER} declares {len(names)} functions NAME_predict, not 1"
        )
    (name,) = names
    by = compiler()
    made = compile_library(by, {**sources, GLUE: glue(name)}, GLUE, where)
    return Build(
        library=made.library,
        name=name,
        weights_sha256=bundle.manifest.weights_sha256,
        sources={name: FileRecord.of(data) for name, data in sources.items()},
        compiler=f"{' '.join(by.command)}: {by.version}",
        flags=made.flags,
        system=platform.system(),
        machine=platform.machine(),
        bits=_bits(),
        processor=processor_name(),
        features=made.features,
    )


def open_build(path: str | Path) -> Build:
    """Read a build, and check its record and its library against their digests.

    Raises:
        BundleError: it is no build, incomplete or changed, or of a newer format.
    """
    where = str(path)
    with errors_as(BundleError, f"{where} cannot be read: ", OSError):
        if not Path(path).is_dir():
            raise BundleError(f"{where} is no folder; {_AGAIN} BUNDLE -o {where}")
        for _ in range(_ATTEMPTS):
            with open_folder(where) as folder, errors_as(BundleError):
                try:
                    record = folder.read(RECORD, _LARGEST_RECORD)
                    library = folder.read(LIBRARY, _LARGEST_LIBRARY)
                    return _build_of(record, library, where)
                except FileNotFoundError as error:
                    if not folder.was_replaced():
                        raise BundleError(
                            f"{where} is no build, or incomplete: it lacks "
                            f"{Path(str(error.filename)).name}; {_AGAIN}"
                        ) from error
                except (BundleError, OSError, ValueError):
                    if not folder.was_replaced():
                        raise
    raise BundleError(f"{where} was replaced {_ATTEMPTS} times while it was read")


def check_place(output: Path, bundle: Bundle) -> None:
    """Refuse to put a build into its bundle, or in the place of what is no build.

    Raises:
        ExportError: `output` has no name of its own, is in the bundle, or holds other things than
            a build's.
        OSError: it cannot be written.
    """
    if not output.name:
        raise ExportError(f"{str(output)!r} names no folder; give the build a name of its own")
    place, own = output.resolve(), bundle.path.resolve()
    if own in (place, *place.parents) or place in own.parents:
        raise ExportError(f"{output} is in the bundle, or around it; allowed: a folder beside it")
    check_writable(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        record = _values((output / RECORD).read_bytes()[: _LARGEST_RECORD + 1])
        if record["format"] != FORMAT:
            raise ValueError
    except (OSError, ValueError, KeyError, BundleError):
        raise ExportError(f"{output} is there and is no build; choose another place") from None
    foreign = sorted({path.name for path in output.iterdir()} - {RECORD, LIBRARY})
    if foreign:
        held = ", ".join(map(printable, foreign))
        raise ExportError(f"{output} holds {held}, which is not of its build; move it elsewhere")


def publish(build: Build, output: Path, bundle: Bundle) -> None:
    """Write a build whole, or not at all; one that is there is replaced.

    Raises:
        ExportError: as `check_place` raises it.
        OSError: it cannot be written.
    """
    check_place(output, bundle)
    with publishing(output) as folder:
        (folder / LIBRARY).write_bytes(build.library)
        (folder / RECORD).write_bytes(build.to_json())


def _build_of(record: bytes, library: bytes, where: str) -> Build:
    at = f"{where}/{RECORD}"
    try:
        values = _values(record)
    except ValueError as error:
        raise BundleError(f"{at} was changed, or never was one: {line_of(error)}") from error
    if values.pop("format", None) != FORMAT:
        raise BundleError(f"{at} is not of the format {FORMAT}")
    if (version := values.pop("format_version", None)) != FORMAT_VERSION:
        raise BundleError(
            f"{at} has format_version {line_of(repr(version))}; this pe_deploy reads "
            f"{FORMAT_VERSION}: {_AGAIN}"
        )
    if not own_digest_holds(record):
        raise BundleError(
            f"{at} was changed after it was made: its SHA-256 is not the one at its end"
        )
    del values[OWN_DIGEST]
    try:
        stated = values.pop("library")
        found = FileRecord.of(library)
        if not strict_json.same(stated, {"file": LIBRARY, **found._asdict()}):
            raise BundleError(
                f"{where}/{LIBRARY} was changed after it was built: its size or SHA-256 is not "
                f"the one in {RECORD}"
            )
        return _checked(library, where, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{at} is malformed: {line_of(error)}") from error


def _checked(library: bytes, where: str, values: dict[str, Any]) -> Build:
    """A build of the values of its record, each of its type.

    Raises:
        TypeError: one is missing, of another type, or unknown.
    """
    texts = ("name", "weights_sha256", "compiler", "system", "machine", "processor")
    kinds = {**dict.fromkeys(texts, str), "bits": int, "share_rows": int, "sources": dict}
    for name, kind in {**kinds, "flags": list, "features": list}.items():
        if type(values.get(name)) is not kind:
            raise TypeError(f"{name} is {values.get(name)!r}")
    for name in ("bits", "share_rows"):
        if values[name] < 0:
            raise TypeError(f"{name} is {values[name]}")
    for name in ("flags", "features"):
        if not all(isinstance(value, str) for value in values[name]):
            raise TypeError(f"{name} is {values[name]!r}")
    if not re.fullmatch(r"[A-Za-z_]\w*", values["name"], re.ASCII):
        raise TypeError(f"name is {values['name']!r}")
    sources = {name: FileRecord(**record) for name, record in values["sources"].items()}
    lists = {name: tuple(values[name]) for name in ("flags", "features")}
    return Build(library=library, where=where, **{**values, **lists, "sources": sources})


def _values(data: bytes) -> dict[str, Any]:
    """The fields of a record.

    Raises:
        ValueError: it is no JSON object.
    """
    values = strict_json.loads(data)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values


def sources_of(bundle: Bundle) -> dict[str, FileRecord]:
    """The records of a bundle's C: of the bytes that it holds, else those that it lists.

    Raises:
        BundleError: it has none.
    """
    found = {}
    for name in (C_SOURCE, C_HEADER):
        if name in bundle.files:
            found[name] = FileRecord.of(bundle.files[name])
        elif name in bundle.manifest.files:
            found[name] = bundle.manifest.files[name]
        else:
            raise BundleError(f"{bundle.folder} holds no {name}; export it with --format c")
    return found


def _bits() -> int:
    return 8 * struct.calcsize("P")


def _machine(named: tuple[str, str, int]) -> str:
    system, machine, bits = named
    return f"{system} on {machine}, {bits} bits"
