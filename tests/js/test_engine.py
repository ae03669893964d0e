"""Every task, and an engine that is slow, fails, or answers what is no number.

The engine is a stand-in that is watched: no real model does all of this.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.bundle.manifest import Dispatch, Manifest
from tests.clients.javascript import program
from tests.runtime.tasks import TOYS, Toy, ToyClassifier

HERE = Path(__file__).parent


def written(toy: Toy, folder: Path, **more: Any) -> Path:
    """A bundle of a toy: its graph is only a config, for the stand-in."""
    manifest = Manifest(toy.signature, toy.labels, toy.threshold, "0" * 64, **more)
    config = json.dumps(manifest.config()).encode()
    entry = b"\x0a\x0epe_deploy.json" + b"\x12" + _varint(len(config)) + config
    graph = b"\x72" + _varint(len(entry)) + entry
    folder.mkdir()
    write_bundle(folder, manifest, {"model.onnx": graph, "model.throughput.onnx": graph})
    return folder


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128, value >> 7]) if value < 2**14 else b""


def run(folder: Path, answer: str, code: str, options: str = "{}") -> Any:
    """What some code prints as JSON; it has `classifier` and `seen`, what its engine saw."""
    prelude = f"""
import {{ opened }} from "{(HERE / "engine.mjs").as_uri()}";
const tensor = (data, dims) => ({{ data: Float32Array.from(data), dims }});
const {{ classifier, seen }} = await opened({json.dumps(str(folder))}, {answer}, {options});
const failure = (promise) => promise.then(() => "none", (e) => `${{e.name}}: ${{e.message}}`);
const print = (value) => console.log(JSON.stringify(value));
"""
    command = [program("node"), "--input-type=module", "--unhandled-rejections=strict"]
    done = subprocess.run(
        command, input=prelude + code, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


OTHER_THRESHOLDS = [(name, 0.8) for name, toy in TOYS.items() if toy.threshold is not None]


@pytest.mark.parametrize(
    ("name", "threshold"), [*((name, None) for name in TOYS), *OTHER_THRESHOLDS]
)
def test_each_task_is_answered_as_in_python(
    name: str, threshold: float | None, tmp_path: Path
) -> None:
    toy = TOYS[name]
    ids = toy.random_rows()
    logits = toy.rounded(ids)
    python = ToyClassifier(toy, threshold)
    code = f"""
const ids = {json.dumps(ids.tolist())};
const answers = {{}};
for (const method of ["predictLogits", "predict", "predictProba", "predictWithProbability"]) {{
  answers[method] = await classifier[method](ids).catch((e) => `${{e.name}}: ${{e.message}}`);
}}
answers.predictLogits = Array.from(answers.predictLogits.data);
answers.none = await failure(classifier.predictProba([]));
print(answers);
"""
    flat = json.dumps(logits.reshape(-1).tolist())
    # Of the 40 rows at once; a guard is tried before with a row.
    answer = f"(ids, dims) => tensor({flat}, [dims[0], {json.dumps(list(logits.shape[1:]))[1:-1]}])"
    options = "{}" if threshold is None else json.dumps({"threshold": threshold})
    given = run(written(toy, tmp_path / "bundle"), answer, code, options)
    np.testing.assert_array_equal(
        given["predictLogits"], python.predict_logits(ids).astype(np.float64).reshape(-1)
    )
    assert given["predict"] == plain(python.predict(ids))
    if toy.signature.task == "regression":
        error = "InvalidInputError: task is regression, whose numbers have no probabilities"
        assert (given["predictProba"], given["none"]) == (error, error)
    else:
        for found, expected in zip(given["predictProba"], python.predict_proba(ids), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert given["none"] == "none"
    if toy.signature.task in ("classes", "tokens"):
        labels, probabilities = python.predict_with_probability(ids)
        assert given["predictWithProbability"]["labels"] == plain(labels)
        for found, expected in zip(
            given["predictWithProbability"]["probabilities"], plain(probabilities), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        task = toy.signature.task
        error = f"InvalidInputError: task is {task}; one label needs classes or tokens"
        assert given["predictWithProbability"] == error


SUM = "(ids, [n, m]) => tensor(Array.from({length: 3 * n}, (_, i) => i % 3), [n, 3])"
"""Of three classes: 0, 1 and 2."""


def test_no_two_runs_are_in_flight_and_a_failure_blocks_nothing(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle")
    fails = "if (ids[0] === 7) throw new Error('boom');"
    answer = f"(ids, dims) => {{ {fails} return ({SUM})(ids, dims); }}"
    code = """
const asked = [[[1]], [[7]], [[2], [3, 4]], [[99]], [], [[7]], [[5]]];
print({
  answers: await Promise.all(asked.map((rows) => failure(classifier.predict(rows)))),
  most: seen.most,
});
"""
    boom = "PredictionError: the engine fails on batch 1 × length 1: Error: boom"
    id_ = "InvalidInputError: row 0: column 0 has id 99; allowed: 0 to 8"
    given = run(folder, answer, code)
    assert given == {"answers": ["none", boom, "none", id_, "none", boom, "none"], "most": 1}


def test_two_classifiers_of_one_engine_wait_for_each_other(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle")
    code = f"""
const {{ open }} = await import("{(HERE.parents[1] / "js/pe-deploy.mjs").as_uri()}");
const {{ engineThat }} = await import("{(HERE / "engine.mjs").as_uri()}");
const engine = engineThat({SUM});
Object.assign(engine, {{ vocab: 9, longest: 6, shortest: 1, pad: 0 }});
const both = await Promise.all([0, 1].map(() => open({json.dumps(str(folder))}, engine)));
await Promise.all(both.flatMap((one) => [one.predict([[1]]), one.predict([[2]])]));
print(engine.seen.most);
"""
    assert run(folder, SUM, code) == 1


def test_many_rows_are_run_in_chunks(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle", dispatch=Dispatch(24, chunk_rows=100))
    code = """
const rows = Array.from({ length: 1001 }, (_, row) => Array(1 + (row % 6)).fill(1 + (row % 8)));
const { dims } = await classifier.predictLogits(rows);
print({ dims, rows: seen.rows, bytes: (await classifier.predictLogits([])).dims });
"""
    given = run(folder, SUM, code)
    assert given["dims"] == [1001, 3]
    assert given["bytes"] == [0, 3]
    assert sum(given["rows"]) == 1001
    assert len(given["rows"]) == 11
    assert max(given["rows"]) <= 100


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("classes", "[0, 1, NaN]", "row 0: the logit of class 2 is NaN"),
        ("binary", "[Infinity]", "row 0: the logit is Infinity"),
        (
            "tokens",
            "[0, 0, 0, 0, -Infinity, 0]",
            "row 0: the logit of column 1 of class 1 is -Infinity",
        ),
    ],
)
def test_an_answer_that_is_not_finite_is_an_error(
    tmp_path: Path, name: str, values: str, message: str
) -> None:
    toy = TOYS[name]
    dims = list(toy.signature.output_shape(1, 2))
    code = "print(await failure(classifier.predict([[1, 2]])));"
    given = run(written(toy, tmp_path / "bundle"), f"() => tensor({values}, {dims})", code)
    assert given == f"PredictionError: {message}; an answer needs finite numbers"


def test_logits_of_another_shape_are_an_error(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle")
    code = "print(await failure(classifier.predict([[1, 2]])));"
    assert run(folder, "() => tensor([1, 2], [1, 2])", code) == (
        "PredictionError: the model answers batch 1 × length 2 with logits [1, 2] instead of [1, 3]"
    )


def test_a_closed_classifier_answers_what_was_asked_before(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle", dispatch=Dispatch(24, chunk_rows=10))
    code = """
const before = classifier.predict(Array(35).fill([1, 2]));
const closing = classifier.close();
const after = failure(classifier.predict([[1]]));
await closing;
await classifier.close();
const test = await failure(classifier.selfTest());
print([(await before).length, await after, test, seen.released, seen.running]);
"""
    closed = "PredictionError: this classifier was closed; open the bundle again"
    assert run(folder, SUM, code) == [35, closed, closed, 1, 0]


def test_what_people_hold_is_taken(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle")
    code = """
const given = {
  arrays: [[1, 2], [3]],
  bigints: [[1n, 2n], [3n]],
  typed: [Int32Array.of(1, 2), Uint8Array.of(3)],
  big: [BigInt64Array.of(1n, 2n)],
  tensor: { data: BigInt64Array.of(1n, 2n, 3n, 0n), dims: [2, 2] },
  small: { type: "uint8", data: Uint8Array.of(1, 2, 3, 0), dims: [2, 2] },
  named: { input_ids: [[1, 2]], attention_mask: [[1, 1]] },
  padded: {
    input_ids: { data: [1, 0], dims: [1, 2] },
    attention_mask: { data: [1n, 0n], dims: [1, 2] },
  },
  whole: [[1.0, 2.0]],
  buffer: [Buffer.from([1, 2])],
};
const bad = {
  floats: [Float32Array.of(1, 2)],
  typed: Int32Array.of(1, 2),
  dtype: { type: "float32", data: Float32Array.of(1, 2), dims: [1, 2] },
  dims: { data: Int32Array.of(1, 2), dims: [2, 2] },
  part: { data: Int32Array.of(1, 2, 3), dims: [1.5, 2] },
  none: { data: [], dims: [null, 2] },
  rank: { data: Int32Array.of(1, 2), dims: [2] },
  columns: { data: new Int32Array(14).fill(1), dims: [2, 7] },
  text: ["a"],
  mask: { input_ids: [[1, 2]], attention_mask: [[1, 0]] },
  shape: { input_ids: [[1, 2]], attention_mask: [[1, 1, 1]] },
  holes: { input_ids: [[1, 2]], attention_mask: [,] },
  symbol: { input_ids: [[1, 2]], attention_mask: [[1, Symbol("1")]] },
  set: new Set([[1]]),
  hole: [[1, , 2]],
  gap: [, [1]],
  nothing: undefined,
};
const all = async (inputs) => {
  const found = {};
  for (const name in inputs) found[name] = await failure(classifier.predict(inputs[name]));
  return found;
};
print({ taken: await all(given), refused: await all(bad) });
"""
    given = run(folder, SUM, code)
    assert set(given["taken"].values()) == {"none"}, given["taken"]
    assert given["refused"] == {
        name: f"InvalidInputError: {message}"
        for name, message in {
            "floats": "row 0: has dtype float32; allowed: an integer dtype",
            "typed": "input_ids has 1 dimensions; allowed: 2, [batch, sequence]",
            "dtype": "input_ids has dtype float32; allowed: an integer dtype",
            "dims": "input_ids has 2 values and dims [2, 2]; "
            "allowed: as many values as the dims say",
            "part": "input_ids has 3 values and dims [1.5, 2]; "
            "allowed: as many values as the dims say",
            "none": "input_ids has 0 values and dims [, 2]; "
            "allowed: as many values as the dims say",
            "rank": "input_ids has 1 dimensions; allowed: 2, [batch, sequence]",
            "columns": "input_ids has 7 columns; allowed: 1 to 6",
            "text": "row 0: is 'a'; text is taken where there is a tokenizer, "
            "in a list of texts alone",
            "mask": "row 0: column 1 of attention_mask is 0 over the token 2; "
            "allowed: 1 over tokens, 0 over padding, which is all that the model masks",
            "shape": "attention_mask is of shape [1, 3]; allowed: [1, 2], as input_ids",
            "holes": "attention_mask is of shape [1]; allowed: [1, 2], as input_ids",
            "symbol": "row 0: column 1 of attention_mask is a symbol over the token 2; "
            "allowed: 1 over tokens, 0 over padding, which is all that the model masks",
            "set": "input_ids is a Set, which has no order; "
            "allowed: integers [batch, sequence], as an array or nested lists",
            "gap": "row 0: is undefined, not a list of ids",
            "hole": "row 0: column 1 has undefined; allowed: integers",
            "nothing": "input_ids is undefined; "
            "allowed: integers [batch, sequence], as an array or nested lists",
        }.items()
    }


def test_a_page_without_a_secure_context_says_so(tmp_path: Path) -> None:
    folder = written(TOYS["classes"], tmp_path / "bundle")
    code = f"""
const {{ open }} = await import("{(HERE.parents[1] / "js/pe-deploy.mjs").as_uri()}");
Object.defineProperty(globalThis, "crypto", {{ value: {{}} }});
const engine = {{ InferenceSession: {{}}, Tensor: class {{}} }};
print([await failure(open({json.dumps(str(folder))}, engine)), await failure(open("x", {{}}))]);
"""
    assert run(folder, SUM, code) == [
        f"BundleError: {folder}: the digests of a bundle cannot be checked: this page has no "
        "crypto.subtle; open it by https: or from localhost",
        "InvalidInputError: ort is a Object; allowed: the module onnxruntime-node or "
        "onnxruntime-web",
    ]


def test_a_bundle_that_is_published_meanwhile_is_the_one_that_is_opened(tmp_path: Path) -> None:
    old = written(TOYS["classes"], tmp_path / "old")
    new = written(TOYS["classes"], tmp_path / "new", model={"epoch": 2})
    code = f"""
const {{ open }} = await import("{(HERE.parents[1] / "js/pe-deploy.mjs").as_uri()}");
const {{ engineThat }} = await import("{(HERE / "engine.mjs").as_uri()}");
const {{ readFileSync }} = await import("node:fs");
const engine = Object.assign(engineThat({SUM}), {{ vocab: 9, longest: 6, shortest: 1, pad: 0 }});
const requests = [];
const serve = (old) => async (url, {{ cache }}) => {{
  const name = url.pathname.split("/").at(-1);
  requests.push(`${{name}} ${{cache}}`);
  return new Response(readFileSync(`${{old(name, cache) ? {json.dumps(str(old))} :
    {json.dumps(str(new))}}}/${{name}}`));
}};
const modelOf = async (old) => {{
  const {{ manifest }} = await open("http://a.test/models/", engine, {{ fetch: serve(old) }});
  return manifest.model;
}};
print({{
  swapped: await modelOf(() => requests.length === 1),
  kept: await modelOf((name, cache) => name === "model.onnx" && cache === "default"),
  never: await failure(modelOf((name) => name === "model.onnx")),
  invalid: await failure(open("http://[", engine)),
  away: await failure(open("http://a.test", engine, {{
    fetch: async () => {{ throw TypeError("no"); }},
  }})),
  broken: await failure(open("http://a.test/?key=1", engine, {{
    fetch: async (url) => new Response(String(url), {{ status: 500 }}),
  }})),
}});
"""
    given = run(old, SUM, code)
    assert given["swapped"] == given["kept"] == {"epoch": 2}
    assert "model.onnx was changed after it was published" in given["never"]
    assert given["invalid"] == "InvalidInputError: folder is 'http://['; allowed: an URL"
    assert given["away"] == "BundleError: http://a.test cannot be read: no"
    assert given["broken"].endswith("manifest.json: the server answers 500")
