"""The two files as a program has them: alone, beside another model, in C++, with any labels."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from pe_deploy import open_bundle
from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.config import Signature
from pe_deploy.export.c.source import to_c
from tests.export.c.library import STRICT, Graph, Library
from tests.export.c.test_models import PLANS
from tests.needs import need

LABELS = (
    *('"quoted"', "back\\slash", "??/ ??= ??'", "two\nlines\ttab\r", "naïve ☃ 😀", "\x00\x01\x7f"),
    *("%s %d", "*/ /* //", "0x1", "", "long " * 800, -3, 2**40),
)


def published(bundle: Path) -> Graph:
    """The graph of a bundle."""
    opened = open_bundle(bundle)
    model = onnx.load_from_string(opened.read(ONNX))
    return Graph(model, opened.manifest.signature, opened.manifest.labels)


def test_the_same_model_is_the_same_bytes(padded_bundle: Path) -> None:
    graph = published(padded_bundle)
    first, second = (to_c(graph.model, graph.signature, graph.labels, "it") for _ in range(2))
    assert first == second
    assert first.source.isascii()
    assert first.header.isascii()


def test_two_models_in_one_library(
    tmp_path: Path, notebook_bundle: Path, padded_bundle: Path
) -> None:
    need("cc")
    graphs = {"first_1": published(notebook_bundle), "z": published(padded_bundle)}
    library = Library(tmp_path, graphs)
    for name in graphs:
        library.compare(name)


def test_labels_are_what_they_were_in_utf_8(tmp_path: Path, padded_bundle: Path) -> None:
    need("cc")
    graph = published(padded_bundle)
    graph.labels = LABELS
    loaded = Library(tmp_path, {"it": graph}, "-trigraphs").loaded
    table = (ctypes.c_char_p * len(LABELS)).in_dll(loaded, "it_labels")
    # C ends a text at its first zero.
    assert list(table) == [str(label).encode().split(b"\x00")[0] for label in LABELS]
    message = loaded.it_message
    message.restype = ctypes.c_char_p
    said = [message(code) for code in range(-1, 10)]
    assert said[0] == said[-1] == b"no such code"
    assert len(set(said[1:9])) == 8


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_program_in_cpp_includes_the_header(
    tmp_path: Path, notebook_bundle: Path, compiler: str
) -> None:
    need(compiler)
    source = published(notebook_bundle).write(tmp_path, "mine")
    program = tmp_path / "program.cpp"
    program.write_text(
        '#include "mine/model.h"\n#include "mine/model.h"\n'
        "int main() {\n"
        "  const int64_t ids[3] = {1, 2, MINE_VOCAB_SIZE};\n"
        "  float logits[MINE_OUTPUTS] = {7.0f};\n"
        "  const int code = mine_predict(ids, 1, 3, logits);\n"
        "  const bool kept = code == MINE_ID_OUT_OF_RANGE && logits[0] == 7.0f;\n"
        "  return kept && mine_predict(ids, 1, 2, logits) == MINE_OK && mine_labels[1] ? 0 : 1;\n"
        "}\n"
    )
    for command in (
        [compiler, *STRICT, "-std=c17", "-O1", "-c", str(source), "-o", "model.o"],
        [compiler, "-x", "c++", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", str(program)],
        [compiler, "program.o", "model.o", "-o", "program"],
        ["./program"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_too_many_ids_to_be_counted(notebook_bundle: Path) -> None:
    graph = published(notebook_bundle)
    with pytest.raises(Exception, match="the form in C takes up to 16,777,216 tokens and ids"):
        to_c(graph.model, Signature(2**24 + 1, 10), graph.labels)


def test_a_wide_layer_takes_no_more_stack_than_is_stated(tmp_path: Path) -> None:
    need("gcc")
    source = Graph.planned(replace(PLANS["wide"], hidden=(200,))).write(tmp_path, "wide")
    command = ["gcc", "-O1", "-march=native", "-fstack-usage", "-c", "model.c", "-o", "it"]
    subprocess.run(command, cwd=source.parent, check=True)
    taken = dict(line.rsplit(":", 1)[1].split("\t")[:2] for line in _usage(source.parent))
    stated = re.findall(r"_STACK_BYTES (\d+)", source.with_name("model.h").read_text())
    called = ("wide_predict", "answer", "gru0_step")
    assert sum(int(taken.get(name, 0)) for name in called) <= int(*stated)
    assert int(taken["answer"]) > int(*stated) / 2


def _usage(folder: Path) -> list[str]:
    (found,) = folder.glob("*.su")
    return found.read_text().splitlines()
