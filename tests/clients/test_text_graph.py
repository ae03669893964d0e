"""The text graph in the bindings people use: of the same texts the same answers and refusals."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import open_bundle
from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort
from tests.clients.texts.make import BUNDLES, HERE, VOCABULARIES, text_graph

Answers = list[list[dict[str, Any]]]
Client = Callable[[list[dict[str, Any]]], list[Answers]]

NAMES = tuple(VOCABULARIES)
LEVELS = ("disabled", "all")
WHITE_SPACE = " \t\n\v\f\r"
PAGE = Path(__file__).parents[2] / "docs/text-graph.md"
# White space, or nothing at all, to one language or another; a part of words here.
IN_WORDS = "\x1c\x1f\x85\xa0\u1680\u2003\u2028\u200b\u202f\u3000\ufeff"


@cache
def texts_for(name: str) -> list[str]:
    """300 texts, most of which a model takes."""
    vocabulary, unknown_id = VOCABULARIES[name]
    rng = random.Random(name)
    known = [word for word in vocabulary if word]
    strange = [
        "dog",
        "[pad]",
        "CAT",
        "cat.",
        "é",
        "e\u0301",
        *IN_WORDS,
        *(f"a{c}a" for c in IN_WORDS),
    ]
    texts = ["", " ", "\t \n", "\n".join(known[:4]), "\r\n".join(known[2:6]), "[UNK]", "[PAD]"]
    texts += [" ".join(known[2:3] * count) for count in (9, 10, 11, 12, 13, 1000)]
    texts += [known[2] + "\n" * count + known[3] for count in (1, 2, 3, 1023, 1024)]
    while len(texts) < 300:
        kinds = " " if rng.random() < 0.5 else WHITE_SPACE
        text = "".join(rng.choices(kinds, k=rng.randint(0, 2)))
        for _ in range(rng.choice([1, 2, 3, 5, 8, 10, 11, 12, 13])):
            text += rng.choice(strange if rng.random() < (0.3 if unknown_id else 0.02) else known)
            text += "".join(rng.choices(kinds, k=rng.choice([1, 1, 1, 2, 5])))
        texts.append(text)
    return texts


def ids_of(name: str, text: str) -> list[int | None]:
    vocabulary, unknown_id = VOCABULARIES[name]
    names = (open_bundle(BUNDLES / name).manifest.signature.pad_id, unknown_id)
    known = {word: number for number, word in enumerate(vocabulary) if word and number not in names}
    return [known.get(word.decode(), unknown_id) for word in text.encode().split()]


@cache
def expected(name: str) -> list[list[float] | None]:
    """By the graph of ids in this process: the logits of each text; None where it is refused."""
    bundle = open_bundle(BUNDLES / name)
    signature, unknown_id = bundle.manifest.signature, VOCABULARIES[name][1]
    session = ort.InferenceSession(bundle.read(ONNX), providers=["CPUExecutionProvider"])

    def logits(text: str) -> list[float] | None:
        ids = ids_of(name, text)
        known = [each for each in ids if each not in (None, unknown_id)]
        strange = None in ids or not known or text.count("\n") > 1023
        if strange or len(ids) > signature.max_length:
            return None
        answer: list[float] = session.run(["logits"], {"input_ids": np.array([ids])})[0][0].tolist()
        return answer

    return list(map(logits, texts_for(name)))


def as_request(texts: Sequence[str]) -> dict[str, Any]:
    return {"input": "texts", "dtype": "string", "dims": [len(texts)], "texts": list(texts)}


def job(name: str, batches: Sequence[Sequence[str]]) -> dict[str, Any]:
    model = str(HERE / f"{name}.text.onnx")
    requests = [as_request(batch) for batch in batches]
    kind = {"together": False, "alone": False}
    return {"model": model, "levels": LEVELS, "requests": requests, **kind}


def guard_in(answer: dict[str, Any]) -> str | None:
    found = re.search(r"Name:'(guard_[a-z0-9_]+)'", answer.get("error", ""))
    return found and found[1]


@pytest.fixture(scope="session")
def jobs() -> list[dict[str, Any]]:
    """Of each graph: each text by itself, no texts, and a batch."""
    made = []
    for name in NAMES:
        texts = texts_for(name)
        made.append(job(name, [*([text] for text in texts), [], batch(name)]))
    return made


def batch(name: str) -> list[str]:
    """Texts that a model takes together."""
    answered = [
        text for text, logits in zip(texts_for(name), expected(name), strict=True) if logits
    ]
    if open_bundle(BUNDLES / name).manifest.signature.pad_id is not None:
        return answered
    return [text for text in answered if len(text.split()) == len(answered[0].split())]


@pytest.fixture(scope="session")
def answered(client: Client, jobs: list[dict[str, Any]]) -> dict[str, Answers]:
    return dict(zip(NAMES, client(jobs), strict=True))


@pytest.fixture(scope="session")
def answered_in_python(python: Client, jobs: list[dict[str, Any]]) -> dict[str, Answers]:
    return dict(zip(NAMES, python(jobs), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_each_text_gets_the_answer_of_its_ids_or_the_refusal_that_it_gets_in_python(
    answered: dict[str, Answers], answered_in_python: dict[str, Answers], name: str
) -> None:
    logits = expected(name)
    assert 150 < sum(each is not None for each in logits) < 300
    assert len(answered[name]) == len(LEVELS)
    for answers, in_python in zip(answered[name], answered_in_python[name], strict=True):
        for text, exact, answer, other in zip(
            texts_for(name), logits, answers, in_python, strict=False
        ):
            if exact is None:
                assert guard_in(answer), (text[:60], answer)
                assert guard_in(answer) == guard_in(other)
            else:
                np.testing.assert_allclose(answer.get("logits", answer), exact, atol=1e-5)
        no_texts, together = answers[len(logits) :]
        assert guard_in(no_texts) == "guard_batch_not_empty"
        exact_of = dict(zip(texts_for(name), logits, strict=True))
        alone = [exact_of[text] or [] for text in batch(name)]
        np.testing.assert_allclose(together["logits"], np.ravel(alone), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_ends_at_nul_in_javascript_and_is_refused_in_python(
    request: pytest.FixtureRequest, client: Client, name: str
) -> None:
    """No graph can see what its binding cuts off; so an app has to look."""
    word = VOCABULARIES[name][0][2]
    with_nul, without = client([job(name, [[f"{word}\0 {word}"], [word]])])[0][0]
    if "Python" in request.node.callspec.id:
        assert guard_in(with_nul) == "guard_utf8_without_nul_and_at_most_1023_line_breaks_or_tabs"
    else:
        assert with_nul == without


@pytest.mark.parametrize("name", NAMES)
def test_the_graphs_here_are_what_is_made_now(name: str) -> None:
    pytest.importorskip("torch", reason="a text graph is made with torch and onnx")
    assert text_graph(name) == (HERE / f"{name}.text.onnx").read_bytes()


def run(command: Sequence[str], code: str, folder: Path) -> list[str]:
    """What a program prints that is given some code, in a folder that holds a bundle."""
    (folder / "models/mine").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "padded.text.onnx", folder / "models/mine/model.text.onnx")
    (folder / "example.mjs").write_text(code)
    done = subprocess.run([*command, "example.mjs"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def block(language: str) -> str:
    """The page's first example in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def lines_of(language: str) -> list[str]:
    """Of each kind of tokenizer, the page's line for the ids of a text."""
    return re.findall(rf"^\| {language} \| `(.*?)` \|$", PAGE.read_text(), re.MULTILINE)


@pytest.fixture
def node(packages: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    found = shutil.which("node")
    assert found  # npm was
    return [found]


def test_the_page_s_examples_print_the_same(node: list[str], tmp_path: Path) -> None:
    in_python = run([sys.executable], block("python"), tmp_path)
    in_node = run(node, block("js"), tmp_path)
    assert len(in_node) == 2
    assert in_python == [f"[{' '.join(in_node)}]"]


def test_the_page_s_lines_give_the_ids(node: list[str], tmp_path: Path) -> None:
    texts = texts_for("padded")
    names, unknown = (0, 1), 1
    vocabulary = VOCABULARIES["padded"][0]
    known = {word: i for i, word in enumerate(vocabulary) if word and i not in names}
    wanted = [
        [list(text.encode()) for text in texts],
        [ids_of("padded", text) for text in texts],
    ]
    given: dict[str, Any] = {"known": known, "unknown": unknown}
    assert [
        [eval(line, {**given, "text": text}) for text in texts] for line in lines_of("Python")
    ] == wanted
    code = f"const known = new Map(Object.entries({json.dumps(known)})), unknown = {unknown};\n"
    code += f"const texts = {json.dumps(texts)};\n"
    for line in lines_of("JavaScript"):
        of_each = f"texts.map((text) => Array.from({line}, Number))"
        code += f"console.log(JSON.stringify({of_each}));\n"
    assert [json.loads(line) for line in run(node, code, tmp_path)] == wanted
