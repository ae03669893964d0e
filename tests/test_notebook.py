"""examples/notebook.ipynb runs to its end, and what it shows is short, in words and in HTML."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

SHOWN = {
    "made": 25_000,
    "made.report": 25_000,
    "made.bundle": 10_000,
    "made.bundle.manifest": 10_000,
    "report": 25_000,
    "trained": 60_000,
    "trained.metrics[0]": 0,
    "trained.shift": 0,
    "load_checkpoint('checkpoints/mine')": 3_000,
    "classifier": 3_000,
    "TorchScriptClassifier('models/mine')": 3_000,
    "EagerClassifier('checkpoints/mine')": 3_000,
    "Source.of(load_checkpoint('checkpoints/mine'))": 3_000,
    "Source.of(load_checkpoint('checkpoints/mine')).rows": 0,
    "load_checkpoint('checkpoints/mine').validation": 3_000,
    "made.bundle.golden()[-1]": 0,
    "made.bundle.manifest.decision": 0,
    "Decision(tuple(range(10_000)))": 0,
    "Dataset(new_ids.numpy(), new_labels.long().numpy(), ('<script>', 'b&w'))": 3_000,
}
"""What is a cell's last line, and how much HTML it may be; none for what is a line of text."""

IMPORTS = """
from pe_deploy import Decision
from pe_deploy.data import Dataset
from pe_deploy.export import Source
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.training import EagerClassifier, load_checkpoint
"""

VOID = {"img", "br"}


class Balanced(HTMLParser):
    """Raises for HTML whose tags do not close each other; keeps the tags that it saw."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outputs_of(notebook: Any) -> list[list[Any]]:
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def kinds_of(outputs: list[Any]) -> list[tuple[str, ...]]:
    """What a cell shows, without what it says."""
    return [(it.output_type, *sorted(it.get("data", ()))) for it in outputs]


def test_the_notebook_runs_and_shows_little(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    # The kernel runs in another folder.
    monkeypatch.setenv("PYTHONPATH", str(root), prepend=os.pathsep)
    path = root / "examples" / "notebook.ipynb"
    assert path.stat().st_size < 150_000
    committed = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        check_story(outputs_of(notebook), outputs_of(committed))

        show = nbformat.v4.new_code_cell(IMPORTS)
        notebook.cells.append(show)
        client.execute_cell(show, len(notebook.cells) - 1)
        for line, most in SHOWN.items():
            show.source = line
            client.execute_cell(show, len(notebook.cells) - 1)
            (output,) = show.outputs
            check_shown(output.data, most)


def check_story(outputs: list[list[Any]], committed: list[list[Any]]) -> None:
    assert [kinds_of(cell) for cell in outputs] == [kinds_of(cell) for cell in committed]
    flat = [output for cell in outputs for output in cell]
    texts = [output.get("text") or output.data["text/plain"] for output in flat]
    assert all(output.get("name") != "stderr" for output in flat), texts
    (trained,) = (re.search(r"([\d.]+)% of 500 new rows", text) for text in texts if "500" in text)
    assert trained is not None
    assert float(trained[1]) > 80
    bars = [text for text in texts if re.match(r"(export and compare|verify|train): ", text)]
    assert len(bars) == 4
    for bar in bars:  # each knew its end from the beginning
        done = re.search(r": ([\d,]+) of ([\d,]+),", bar)
        assert done is not None, bar
        assert done[1] == done[2]
    judged = [text for text in texts if text.startswith("<Report")]
    assert [text.split()[1].rstrip(":") for text in judged] == ["passed", "FAILED"]


def check_shown(data: Any, most: int) -> None:
    text = data["text/plain"]
    assert len(text) < 400
    assert text.count("\n") < 4
    html = data.get("text/html", "")
    assert bool(html) == bool(most), text
    assert len(html) <= most, text
    assert Balanced(html).seen.isdisjoint({"script", "style", "link", "iframe"})
    for dump in ("array(", "tensor(", "object at 0x", "dtype="):
        assert dump not in text + html
    assert "color" not in re.sub(r'src="[^"]*"', "", html)  # the notebook's own colours
