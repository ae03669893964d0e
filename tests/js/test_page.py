"""What docs/javascript.md shows runs, and prints what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.javascript import browser, posted_by, program

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/javascript.md").read_text()
README = (ROOT / "js/README.md").read_text()
EXAMPLES = re.findall(r"```js\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def app(packages: Path, tmp_path: Path) -> Path:
    """The folder of an app, with bundles and with the packages that the page installs."""
    shutil.copytree(ROOT / "models/languages", tmp_path / "models/languages")
    shutil.copytree(ROOT / "tests/bundles/pieces", tmp_path / "models/pieces")
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for package in (packages / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    (modules / "pe-deploy").symlink_to(ROOT / "js")
    return tmp_path


def printed(app: Path, code: str) -> str:
    (app / "app.mjs").write_text(code)
    command = [program("node"), "app.mjs"]
    done = subprocess.run(command, cwd=app, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_each_example_prints_what_the_page_says(app: Path) -> None:
    assert len(EXAMPLES) == PAGE.count("```js\n") == 3
    for code, shown in EXAMPLES:
        assert printed(app, code) == shown


def test_the_readme_s_example_runs(app: Path) -> None:
    (code,) = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    (call, shown) = re.findall(r"^(await .*); // (.*)$", code, re.MULTILINE)[0]
    assert printed(app, code.replace(call, f"console.log({call})")) == f"{shown}\n"


def test_the_page_s_html_answers_in_a_browser(app: Path) -> None:
    (html,) = re.findall(r"```html\n(.*?)```", PAGE, re.DOTALL)
    post = """
  const { method, body } = { method: "POST", body: JSON.stringify([label]) };
  await fetch("/answers", { method, body });
</script>
"""

    def prepare(site: Path) -> None:
        (site / "index.html").write_text("</script>".join(html.split("</script>")[:-1]) + post)
        (site / "models").symlink_to(app / "models")

    assert posted_by(browser(), app, prepare) == ["French"]


def test_the_page_s_typescript_compiles(app: Path) -> None:
    (code,) = re.findall(r"```ts\n(.*?)```", PAGE, re.DOTALL)
    (app / "app.mts").write_text(code)
    compiler = str(app / "node_modules/typescript/bin/tsc")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "preserve"]
    command = [program("node"), compiler, *options, "--types", "node", "app.mts"]
    done = subprocess.run(command, cwd=app, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_names_every_option_and_error() -> None:
    source = (ROOT / "js/pe-deploy.mjs").read_text()
    (options,) = re.findall(r"const OPTIONS = \[(.*?)\]", source, re.DOTALL)
    for name in re.findall(r'"(\w+)"', options):
        assert f"| `{name}` |" in PAGE
    (exported,) = re.findall(r"^export \{(.*?)\}", source, re.DOTALL | re.MULTILINE)
    for name in re.findall(r"\w+Error", exported):
        assert f"`{name}`" in PAGE
