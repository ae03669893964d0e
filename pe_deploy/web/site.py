"""What the folder of a site holds: the page, the module, onnxruntime-web, and the bundle."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pe_deploy.bundle.artifacts import GOLDEN, MANIFEST, ONNX, TEXTS, TOKENIZERS
from pe_deploy.bundle.bundle import Bundle, open_parts
from pe_deploy.bundle.describe import sentence
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.config import Decision, Signature
from pe_deploy.errors import InvalidInputError, printable
from pe_deploy.storage.digest import sha256
from pe_deploy.web.examples import examples_of
from pe_deploy.web.npm import engine_files, tokenizers_files
from pe_deploy.web.scripts import SERVICE_WORKER, module_files, page_files, service_worker

FORMAT = "pe_deploy.site"
RECORD = "site.json"
"""Lists what a site holds, so that a site can be told from anything else before it is replaced."""

Input = Literal["text", "ids", "drawing"]
"""How a visitor gives the model its input."""

_RUN = (ONNX, GOLDEN, TEXTS, *TOKENIZERS)
"""What a page runs of a bundle. The form for many rows would be as large a download again."""

_DIGITS = Signature(vocab_size=17, max_length=64, num_classes=10)
_JSON_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, eq=False)
class Site:
    """A folder of static files.

    Attributes:
        title: the page's name.
        input: how a visitor gives the model its input.
        version: a digest of all files but those that are made of it.
        engine: the version of onnxruntime-web.
        files: from each path, with `/` on every system, to its bytes.
    """

    title: str
    input: Input
    version: str
    engine: str
    files: Mapping[str, bytes]


def make_site(
    bundle: str | Path,
    onnxruntime_web: str | Path,
    *,
    tokenizers: str | Path = "node_modules/@huggingface/tokenizers",
    title: str | None = None,
    input: Input | None = None,  # noqa: A002 - as the option is called
    public_key: str | Path | None = None,
) -> Site:
    """Make the files of a site that runs a bundle in its visitors' browsers.

    Args:
        bundle: the folder; what the page runs of it is copied, and checked on the way.
        onnxruntime_web: `node_modules/onnxruntime-web`.
        tokenizers: `node_modules/@huggingface/tokenizers`, for a bundle with a `tokenizer.json`.
        title: the page's name; by default that of the bundle's folder.
        input: how a visitor gives the model its input; by default a text where the bundle takes
            texts, a drawing for the built-in set of digits, and else ids.
        public_key: a PEM file; the bundle has to be signed with its private key.

    Raises:
        BundleError: as `open_bundle`, for the files that the page runs.
        InvalidInputError: the model does not take such an input, or the title is empty.
        MissingDependencyError: a package of npm is not there, or of a version that is not known.
    """
    opened = open_parts(bundle, _RUN, public_key=public_key)
    manifest = opened.manifest
    chosen = _input_of(manifest, input)
    name = printable(title if title is not None else Path(bundle).resolve().name).strip()
    if not name:
        raise InvalidInputError("title is empty; allowed: text")
    model = _bundle_files(opened)
    engine, runtime = engine_files(Path(onnxruntime_web))
    is_json = manifest.text is not None and manifest.text.file == _JSON_TOKENIZER
    if is_json:
        runtime |= tokenizers_files(Path(tokenizers))
    words = {
        "title": html.escape(name),
        "sentence": html.escape(sentence(manifest.signature, manifest.decision, manifest.text)),
        "input": chosen,
        "tokenizers": "yes" if is_json else "",
        "examples": html.escape(json.dumps(examples_of(opened, chosen), ensure_ascii=False)),
        "digest": sha256(opened.manifest_json),
        "engine": html.escape(engine),
    }
    files = {**page_files(words), **module_files(), **runtime, **model}
    digests = {path: sha256(data) for path, data in sorted(files.items())}
    version = sha256(json.dumps(digests).encode())
    worker = service_worker(json.dumps({"version": version, "files": digests}, indent=2))
    extra = {SERVICE_WORKER: worker, ".nojekyll": b""}
    record = {
        "format": FORMAT,
        "title": name,
        "input": chosen,
        "version": version,
        "onnxruntime_web": engine,
        "files": sorted({*files, *extra}),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return Site(name, chosen, version, engine, {**files, **extra, RECORD: text.encode()})


def _bundle_files(opened: Bundle) -> dict[str, bytes]:
    """What the page runs, as it was published; with what proves it."""
    manifest = opened.manifest
    names = [ONNX, GOLDEN]
    if manifest.text is not None:
        names += [TEXTS, *([manifest.text.file] if manifest.text.file else [])]
    files = {MANIFEST: opened.manifest_json, **{name: opened.read(name) for name in names}}
    return {f"bundle/{name}": data for name, data in files.items()}


def _input_of(manifest: Manifest, wanted: Input | None) -> Input:
    """How the input is given; what does not fit the model is refused."""
    takes_text = manifest.text is not None
    signature = manifest.signature
    is_drawn = (signature.vocab_size, signature.max_length) == (17, 64) and not takes_text
    if wanted is None:
        if takes_text:
            return "text"
        return "drawing" if _is_digits(signature, manifest.decision) else "ids"
    if wanted not in get_args(Input):
        raise InvalidInputError(f"input is {wanted!r}; allowed: {', '.join(get_args(Input))}")
    if wanted == "text" and not takes_text:
        raise InvalidInputError("input is 'text', and this model takes ids: it has no tokenizer")
    if wanted == "drawing" and not is_drawn:
        raise InvalidInputError(
            "input is 'drawing'; allowed with rows of 64 ids from 0 to 16, the pixels of 8 × 8"
        )
    return wanted


def _is_digits(signature: Signature, decision: Decision) -> bool:
    """Whether it is a model of the built-in set of digits."""
    return signature == _DIGITS and [*map(str, decision.labels)] == [*map(str, range(10))]
