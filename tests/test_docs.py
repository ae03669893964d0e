"""The README and the pages of docs/ say what is so: commands, snippets, options, links."""

from __future__ import annotations

import csv
import doctest
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from pe_deploy import CheckpointError, ExportError, ModelConfig, OnnxClassifier
from pe_deploy.cli import COMMANDS, app_for
from pe_deploy.export import compare, export, export_module
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.training import GRUClassifier, load_checkpoint, torch_threads, train
from tests.conftest import MADE
from tests.needs import need

ROOT = Path(__file__).parent.parent
DOCS = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
PAGES = ("README.md", *(f"docs/{name}" for name in DOCS))

ONE_AFTER_ANOTHER = ("docs/train.md", "docs/export.md", "docs/verify.md")
"""Each of these goes on with what the one before it made; any other page stands alone."""

NEED_TORCH = (
    *(CheckpointError, ExportError, TorchScriptClassifier),
    *(train, load_checkpoint, compare, export, export_module),
)


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def commands_of(page: str) -> list[tuple[str, str]]:
    """Each command that a page shows, and what it shows of its output."""
    return re.findall(r"```console\n\$ (.+)\n((?:.*\n)*?)```", text_of(page))


STORIES = [ONE_AFTER_ANOTHER] + [
    (page,) for page in PAGES if page not in ONE_AFTER_ANOTHER and commands_of(page)
]


@pytest.fixture
def folder(folder: Path) -> Path:
    """What a reader has: committed models, and weights from a notebook and from Lightning."""
    shutil.copytree(MADE / "c_plain", folder / "models/mine")
    model = GRUClassifier(ModelConfig(vocab_size=12, max_length=10))
    state = model.state_dict()
    torch.save(state, folder / "weights.pt")
    lightning = {"epoch": 9, "state_dict": {f"model.{name}": state[name] for name in state}}
    torch.save(lightning, folder / "last.ckpt")
    return folder


def run(command: str) -> str:
    """What a command prints."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "80",
        "PYTEST_ADDOPTS": "-q",
    }
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def shape_of(text: str) -> str:
    """A text without what differs between machines and runs: the digits of its figures."""
    return re.sub(r"\d[\d.,]*(e[-+]\d+)?", "#", " ".join(text.split()))


def says(shown: str, printed: str) -> bool:
    """Whether the output is what a page shows; a line of dots stands for any lines."""
    parts = [re.escape(shape_of(part)) for part in re.split(r"^\.\.\.$", shown, flags=re.M)]
    return re.fullmatch(".*".join(parts).strip(), shape_of(printed)) is not None


WEIGHTS = {
    "bilstm_packed": "bilstm.pt",
    "transformer_mask": "encoder.pt",
    "textcnn": "textcnn.pt",
    "token_tagger": "tagger.pt",
    "multilabel_attention": "motifs.pt",
}


def train_examples() -> None:
    """Each example and the weights that it leaves, of two steps, in the working folder."""
    here = Path.cwd()
    place = here / "training"
    place.mkdir()
    os.chdir(place)  # each leaves a weights.pt, and so has the reader one
    for example, weights in WEIGHTS.items():
        shutil.copy(ROOT / "examples" / f"{example}.py", here)
        with torch_threads(1):
            runpy.run_path(str(here / f"{example}.py"))["main"](steps=2)
        Path("weights.pt").rename(here / weights)
    os.chdir(here)


@pytest.mark.parametrize("story", STORIES, ids=" ".join)
@pytest.mark.usefixtures("folder")
def test_every_command_prints_what_it_says(story: Sequence[str]) -> None:
    if {"README.md", "docs/your-model.md"} & {*story}:
        train_examples()
    for page in story:
        for command, shown in commands_of(page):
            if re.search(r"--format \S*\bc\b|deploy build", command):
                need("cc")
            # The whole demo is a step of .ci/run.
            quick = f"{command} --epochs 1" if command == "pe-deploy demo" else command
            printed = run(quick)
            assert says(shown, printed), f"{page}: {command} printed:\n{printed}"
            if command != quick or "--self-test" in command:  # the tables of others fold long words
                assert max(map(len, printed.splitlines())) <= 80
    if story == ("docs/demo.md",):
        run("pe-deploy predict models/demo models/demo-held-out.csv -o answers.csv")
        assert len(Path("answers.csv").read_text().splitlines()) == 360
        assert Path("checkpoints/demo/positions.png").stat().st_size > 10_000


@pytest.mark.usefixtures("folder")
def test_the_workflow_runs() -> None:
    (command,) = {
        command for page in PAGES for command in re.findall(r"- run: (pytest .+)", text_of(page))
    }
    assert re.search(r"\d+ passed", run(command))


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in text_of(page)])
@pytest.mark.usefixtures("folder")
def test_every_snippet_answers_what_it_says(page: str) -> None:
    if "NativeClassifier" in text_of(page):
        need("cc")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=flags)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("public", NEED_TORCH, ids=lambda public: public.__name__)
def test_the_example_in_a_docstring_runs(
    public: object, examples_pass: Callable[[object], bool]
) -> None:
    """Those that need no torch are in tests/runtime, which the base install runs."""
    assert examples_pass(public)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_page_with_each_of_its_options_and_no_other(name: str) -> None:
    command = get_command(app_for(list(COMMANDS))).commands[name]  # type: ignore[attr-defined]
    page = f"docs/{name}.md"
    assert f"]({page})" in text_of("README.md")
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    # As in `bench --tune`, on the page of export.
    of_others = rf"`(?:{'|'.join(set(COMMANDS) - {name})}) [^`]*`"
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(of_others, "", text_of(page))))
    assert named == known


def links_of(page: str) -> list[str]:
    """Where a page links to in this repository."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(page))


def test_the_readme_leads_to_every_page() -> None:
    assert set(PAGES) - {"README.md"} <= set(links_of("README.md"))


def test_every_link_leads_somewhere() -> None:
    for page in (*PAGES, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "models/README.md"):
        for link in links_of(page):
            file, _, anchor = link.partition("#")
            target = (ROOT / page).parent / file if file else ROOT / page
            assert target.exists(), f"{page} links to {link}"
            assert not anchor or anchor in anchors_of(target), f"{page} links to {link}"


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", *PAGES])
def test_files_named_in_code_exist(page: str) -> None:
    named = re.findall(r"`((?:tests|docs|pe_deploy|\.ci)/[\w/.]+)`", text_of(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) < 200


@pytest.mark.parametrize(("name", "most"), [("demo", 1_000_000), ("languages", 3_500_000)])
def test_the_demo_models_are_small_and_committed(name: str, most: int) -> None:
    files = [path for path in (ROOT / "models" / name).rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) < most


def test_the_committed_demo_gets_its_held_out_images_right() -> None:
    with (ROOT / "models" / "demo-held-out.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = [[int(number) for number in row["input_ids"].split()] for row in rows]
    labels = OnnxClassifier(ROOT / "models" / "demo").predict(ids)
    right = sum(int(row["label"]) == label for row, label in zip(rows, labels, strict=True))
    assert len(rows) == 359
    assert right / len(rows) >= 0.93
