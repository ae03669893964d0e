"""What a site holds, where it may be put, and what is refused; without npm."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy.web.scripts import PAGE

WASM = b"\0asm" + bytes(1000)
SCRIPT = b"export const env = { wasm: {} };\n//# sourceMappingURL=ort.wasm.bundle.min.mjs.map\n"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A package of npm with the files that a site takes."""
    package = tmp_path / "node_modules/onnxruntime-web"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.30.0"}')
    (package / "dist/ort.wasm.bundle.min.mjs").write_bytes(SCRIPT)
    (package / "dist/ort-wasm-simd-threaded.wasm").write_bytes(WASM)
    return package


@pytest.fixture
def bundle(tmp_path: Path, demo_bundle: Path) -> Path:
    return Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))


@pytest.fixture
def web(run: Callable[..., Any], engine: Path, bundle: Path) -> Callable[..., Any]:
    """`pe-deploy web bundle -o site`, in a folder where npm installed its packages."""

    def web(*options: object, output: str = "site") -> Any:
        return run("web", "bundle", "-o", output, *options)

    return web


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(done: Any, *words: str) -> None:
    assert done.code == 1
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_a_site_holds_what_its_page_runs_and_no_more(
    web: Callable[..., Any], tmp_path: Path, bundle: Path
) -> None:
    done = web()
    assert (done.code, done.err) == (0, "")
    assert "Published site: bundle, by drawing" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    found = files_in(tmp_path / "site")
    held = {name.partition("/")[2] for name in found if name.startswith("bundle/")}
    assert held == {"manifest.json", "model.onnx", "golden.npz"}
    assert all(found[f"bundle/{name}"] == (bundle / name).read_bytes() for name in held)
    assert gzip.decompress(found["onnxruntime/ort-wasm-simd-threaded.wasm.packed"]) == WASM
    assert b"sourceMappingURL" not in found["onnxruntime/ort.wasm.bundle.min.js"]
    folders = {name.partition("/")[0] for name in found}
    assert folders == {
        *("index.html", "page", "pe-deploy", "onnxruntime", "bundle"),
        *("service-worker.js", "site.json", ".nojekyll"),
    }


def test_a_bundle_that_takes_text_brings_its_tokenizer_and_its_golden_texts(
    run: Callable[..., Any], engine: Path, tmp_path: Path, root: Path
) -> None:
    words = root / "tests/bundles/words"
    assert run("web", words, "-o", "site").code == 0
    found = files_in(tmp_path / "site")
    assert {name for name in found if name.startswith("bundle/")} == {
        f"bundle/{name}"
        for name in ("manifest.json", "model.onnx", "golden.npz", "golden.texts.json", "vocab.txt")
    }
    assert b'data-input="text"' in found["index.html"]


def test_every_address_is_of_the_site_and_relative(web: Callable[..., Any], tmp_path: Path) -> None:
    web()
    site = tmp_path / "site"
    html = (site / "index.html").read_text()
    for address in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert (site / address).is_file()
    for path in site.rglob("*.js"):
        text = re.sub(r"//.*|/\*[\s\S]*?\*/", "", path.read_text())
        imports = re.findall(r'(?:from|import)\s*\(?\s*"([^"]+)"', text)
        for address in imports:
            if address == "../tokenizers/tokenizers.min.js":
                continue  # only where a bundle needs it
            assert (path.parent / address).is_file(), (path, address)
        assert ".mjs" not in text, path
    page = "".join(path.read_text() for path in PAGE.rglob("*.[chj]*"))
    assert re.findall(r"https?://[^\s\"']*", page) == []


def test_the_policy_allows_scripts_of_the_site_alone(
    web: Callable[..., Any], tmp_path: Path
) -> None:
    web()
    html = (tmp_path / "site/index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules.pop("script-src") == "'self' 'wasm-unsafe-eval'"
    assert rules.pop("default-src") == "'none'"
    assert set(rules.values()) == {"'self'", "'none'"}
    assert re.search(r"<style|style=|<script>|\son\w+=", html) is None


def test_the_service_worker_knows_each_file_and_a_version_of_all(
    web: Callable[..., Any], tmp_path: Path
) -> None:
    web()
    found = files_in(tmp_path / "site")
    worker = found.pop("service-worker.js").decode()
    stated = re.search(r"const SITE = (\{.*?\n\});", worker, re.DOTALL)
    assert stated
    record = json.loads(stated[1])
    served = {name for name in found if name not in (".nojekyll", "site.json")}
    assert record["files"] == {
        name: hashlib.sha256(found[name]).hexdigest() for name in sorted(served)
    }
    web("--title", "Another name")
    assert record["version"] not in (tmp_path / "site/service-worker.js").read_text()


def test_the_same_bundle_gives_the_same_bytes(web: Callable[..., Any], tmp_path: Path) -> None:
    web()
    web(output="other")
    assert files_in(tmp_path / "site") == files_in(tmp_path / "other")


def test_a_title_is_text(web: Callable[..., Any], tmp_path: Path) -> None:
    title = "<script>alert('é')</script> & \"co\"\n{{digest}} \\1"
    assert web("--title", title).code == 0
    html = (tmp_path / "site/index.html").read_text()
    assert "<script>alert" not in html
    assert (
        html.count("&lt;script&gt;alert(&#x27;é&#x27;)&lt;/script&gt; &amp; &quot;co&quot;\\n") == 2
    )
    assert html.count("{{digest}}") == 2
    refused(web("--title", " "), "title is empty")


def test_a_site_is_replaced_and_nothing_else_is(web: Callable[..., Any], tmp_path: Path) -> None:
    site = tmp_path / "site"
    web()
    stale = site / "page/old.js"
    assert web("--title", "Second").code == 0
    assert "Second" in (site / "index.html").read_text()
    stale.write_text("own")
    (site / ".git").mkdir()
    (site / ".git/HEAD").write_text("ref")
    (site / "CNAME").write_text("example.org")
    before = files_in(site)
    refused(web(), "site holds .git, CNAME, page, which is not of its site")
    assert files_in(site) == before


@pytest.mark.parametrize("holds", ["notes.txt", "index.html", "site.json"])
def test_a_folder_of_others_is_left_alone(
    web: Callable[..., Any], tmp_path: Path, holds: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / holds).write_text("{}")
    refused(web(), "site is there and is not a site of pe-deploy")
    assert files_in(tmp_path / "site") == {holds: b"{}"}


def test_a_bundle_or_a_file_is_not_replaced(web: Callable[..., Any], tmp_path: Path) -> None:
    refused(web(output="bundle"), "is not a site")
    (tmp_path / "file").write_text("own")
    refused(web(output="file"))
    refused(web(output="."), "names no folder")
    assert (tmp_path / "file").read_text() == "own"


def test_what_fails_leaves_what_was_there(
    web: Callable[..., Any], tmp_path: Path, bundle: Path
) -> None:
    web()
    before = files_in(tmp_path / "site")
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[100] ^= 1
    (bundle / "model.onnx").write_bytes(data)
    refused(web(), "model.onnx was changed after it was published")
    refused(web(output="new"), "model.onnx was changed")
    assert files_in(tmp_path / "site") == before
    assert not (tmp_path / "new").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_slim_copy_without_what_is_run_is_refused(
    web: Callable[..., Any], bundle: Path, name: str
) -> None:
    (bundle / name).unlink()
    refused(web(), name)


def test_a_slim_copy_with_what_is_run_is_enough(web: Callable[..., Any], bundle: Path) -> None:
    for name in ("model.pt", "model.throughput.onnx", "parity.json", "README.md"):
        (bundle / name).unlink()
    assert web().code == 0


def test_onnxruntime_web_is_asked_for_in_one_line(
    web: Callable[..., Any], engine: Path, tmp_path: Path
) -> None:
    stated = engine / "package.json"
    for version in ("1.19.2", "2.0.0", "new", "1"):
        stated.write_text(json.dumps({"name": "onnxruntime-web", "version": version}))
        refused(web(), f"has version {version}; allowed: 1.20 to below 2.0")
    stated.write_text('{"name": "onnxruntime-node", "version": "1.30.0"}')
    refused(web(), "is onnxruntime-node; allowed: onnxruntime-web")
    for text in ("[]", "{}", "", "{"):
        stated.write_text(text)
        refused(web(), "is no package of npm; run: npm install onnxruntime-web")
    stated.write_text('{"name": "onnxruntime-web", "version": "1.30.0"}')
    (engine / "dist/ort-wasm-simd-threaded.wasm").unlink()
    refused(web(), "ort-wasm-simd-threaded.wasm cannot be read; run: npm install onnxruntime-web")
    shutil.rmtree(tmp_path / "node_modules")
    refused(web(), "node_modules/onnxruntime-web is no package of npm; run: npm install")
    assert not (tmp_path / "site").exists()


def test_a_tokenizer_json_asks_for_its_library(
    run: Callable[..., Any], engine: Path, tmp_path: Path, root: Path
) -> None:
    pieces = root / "tests/bundles/pieces"
    refused(run("web", pieces, "-o", "site"), "run: npm install @huggingface/tokenizers")
    package = tmp_path / "library"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "@huggingface/tokenizers", "version": "0.2.0"}')
    (package / "dist/tokenizers.min.mjs").write_text("export class Tokenizer {}")
    assert run("web", pieces, "-o", "site", "--tokenizers", package).code == 0
    found = files_in(tmp_path / "site")
    assert "tokenizers/tokenizers.min.js" in found
    assert "bundle/tokenizer.json" in found


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        ("notebook", "text", "this model takes ids: it has no tokenizer"),
        ("notebook", "drawing", "rows of 64 ids from 0 to 16"),
        ("words", "drawing", "rows of 64 ids from 0 to 16"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    run: Callable[..., Any], engine: Path, root: Path, name: str, wanted: str, message: str
) -> None:
    done = run("web", root / "tests/bundles" / name, "-o", "site", "--input", wanted)
    refused(done, f"input is '{wanted}'", message)


def test_any_model_may_be_given_ids(web: Callable[..., Any], tmp_path: Path) -> None:
    assert "by ids" in web("--input", "ids").out
    html = (tmp_path / "site/index.html").read_text()
    examples = re.search(r'data-examples="([^"]*)"', html)
    assert examples
    assert len(json.loads(examples[1].replace("&quot;", '"'))) == 3
    assert web("--input", "voice").code == 2
