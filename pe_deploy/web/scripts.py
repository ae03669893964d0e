"""The JavaScript of a site: the page's own, the module that opens bundles, and their imports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from pe_deploy.errors import MissingDependencyError

_PACKAGE = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "page"
_ENTRY = "pe-deploy.mjs"
_IMPORT = re.compile(r"""((?:\bfrom|\bimport)\s*\(?\s*["'])(\.{1,2}/[^"']+)\.mjs(["'])""")


def module_files() -> dict[str, bytes]:
    """The module for JavaScript, by the names that it has in a site.

    Its files end with `.js` there: some servers know no `.mjs`, and a browser runs no script that
    comes as bytes of an unknown kind.

    Raises:
        MissingDependencyError: it is neither in the installed package nor, in a checkout, beside
            it.
    """
    folder = _module_folder()
    return {f"pe-deploy/{name}": text.encode() for name, text in _served(folder)}


def page_files(words: Mapping[str, str]) -> dict[str, bytes]:
    """The page, with each `{{word}}` of its HTML replaced."""
    files = {}
    for path in sorted(PAGE.rglob("*")):
        if path.is_file() and path.name != SERVICE_WORKER:
            name = path.relative_to(PAGE).as_posix()
            files[name] = path.read_bytes()
    html = files[INDEX].decode()
    files[INDEX] = re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], html).encode()
    return files


INDEX = "index.html"
SERVICE_WORKER = "service-worker.js"


def service_worker(record: str) -> bytes:
    """What keeps a site for the next visit, told by JSON which files that is."""
    text = (PAGE / SERVICE_WORKER).read_text(encoding="utf-8")
    before, placeholder, after = text.partition("{ version: '', files: {} }")
    if not placeholder:
        raise ValueError(f"{SERVICE_WORKER} has no place for the files of a site")
    return f"{before}{record}{after}".encode()


def _module_folder() -> Path:
    beside, inside = _PACKAGE.parent / "js", _PACKAGE / "js"
    for folder in (beside, inside):
        if (folder / _ENTRY).is_file():
            return folder
    raise MissingDependencyError(f"{inside} lacks {_ENTRY}; install pe-deploy again")


def _served(folder: Path) -> Iterator[tuple[str, str]]:
    """Each script that the module's entry leads to, and its text with the names that are served."""
    waiting, seen = [PurePosixPath(_ENTRY)], set[PurePosixPath]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        text = (folder / name).read_text(encoding="utf-8")
        for found in _IMPORT.finditer(text):
            waiting.append(_joined(name.parent, f"{found[2]}.mjs"))
        yield str(name.with_suffix(".js")), _IMPORT.sub(r"\1\2.js\3", text)


def _joined(folder: PurePosixPath, path: str) -> PurePosixPath:
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(path).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)
