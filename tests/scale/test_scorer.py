"""`Scorer`: tables of Arrow in, with the columns that `predict` adds to a file out."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy import (
    BundleError,
    DataError,
    InvalidInputError,
    MissingDependencyError,
    OnnxClassifier,
)
from pe_deploy.data import Columns
from pe_deploy.runtime.predict_file import predict_file
from pe_deploy.scale import Scorer
from tests.scale.tables import table

BYTES = Path(__file__).parent.parent / "bundles" / "bytes"


def test_the_bits_are_those_of_a_file(tmp_path: Path, notebook_bundle: Path) -> None:
    rows = table(9_000)
    pq.write_table(rows, tmp_path / "in.parquet")
    classifier = OnnxClassifier(notebook_bundle, num_threads=1)
    predict_file(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet")
    expected = pq.read_table(tmp_path / "out.parquet")
    score = Scorer(notebook_bundle)
    assert score(rows).equals(expected)
    assert score.schema(rows.schema) == expected.schema
    pieces = pa.concat_tables([rows.slice(0, 5), rows.slice(5, 7_000), rows.slice(7_005)])
    assert score(pieces).equals(expected)
    assert pickle.loads(pickle.dumps(score))(rows).equals(expected)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.uint8())),
        pa.array([[1, 2, 3], [4, 5, 6]], pa.large_list(pa.int32())),
        pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.int64(), 3)),
        pa.array(["1 2 3", "[4, 5, 6]"]),
        pa.array(["1 2 3", "4 5 6"]).dictionary_encode(),
        pa.array([[9], [1, 2, 3], [4, 5, 6]]).slice(1),
    ],
    ids=lambda ids: str(ids.type),
)
def test_each_kind_of_column(notebook_bundle: Path, ids: pa.Array) -> None:
    score = Scorer(notebook_bundle)
    batch = pa.record_batch({"label": pa.array(["a", "b"]), "input_ids": ids})
    scored = score(batch)
    assert isinstance(scored, pa.RecordBatch)
    assert scored.schema.names == ["label", "input_ids", "predicted_label", "probability"]
    expected = OnnxClassifier(notebook_bundle, num_threads=1).predict([[1, 2, 3], [4, 5, 6]])
    assert scored["predicted_label"].to_pylist() == expected.tolist()
    assert [len(b) for b in score.batches([batch, batch.slice(0, 0)])] == [2, 0]


def test_bad_rows(notebook_bundle: Path) -> None:
    rows = pa.table({"input_ids": [[1, 2], [1, 99], None, [3, 4]]})
    with pytest.raises(DataError, match=r"^table: row 3, column input_ids: null is not a list"):
        Scorer(notebook_bundle)(rows)
    with pytest.raises(DataError, match=r"^table: row 2: column 1 has id 99; allowed: 0 to 11"):
        Scorer(notebook_bundle)(rows.slice(0, 2))
    scored = Scorer(notebook_bundle, on_error="null")(rows)
    assert [label is None for label in scored["label"].to_pylist()] == [False, True, True, False]
    assert scored["error"].to_pylist() == [
        None,
        "column 1 has id 99; allowed: 0 to 11",
        "column input_ids: null is not a list; allowed: a list of integers",
        None,
    ]
    empty = Scorer(notebook_bundle, on_error="null")(rows.slice(0, 0))
    assert empty.schema == scored.schema


def test_texts() -> None:
    rows = pa.table({"n": [1, 2], "body": ["a dog", "x" * 41]})
    scored = Scorer(BYTES, columns=Columns(text="body"), truncation="end")(rows)
    assert scored.schema.names == ["n", "body", "label", "probability"]
    with pytest.raises(DataError, match="table: no column 'input_ids'; its columns: n, body"):
        Scorer(BYTES)(rows)


def test_every_task_has_its_columns(tmp_path: Path) -> None:
    bundles = Path(__file__).parent.parent / "bundles"
    found = 0
    for bundle in sorted(path.parent for path in bundles.glob("*/model.onnx")):
        try:
            classifier = OnnxClassifier(bundle, num_threads=1)
        except MissingDependencyError:  # that of its tokenizer
            continue
        length = classifier.signature.min_length
        rows = pa.table({"input_ids": [[1] * length, [2] * length]})
        pq.write_table(rows, tmp_path / "in.parquet")
        predict_file(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet", on_error="null")
        scored = Scorer(bundle, on_error="null")(rows)
        assert scored.equals(pq.read_table(tmp_path / "out.parquet"))
        found += 1
    assert found >= 3


def test_by_value_or_by_a_path_that_all_share(
    own_bundle: Path, padded_bundle: Path, tmp_path: Path
) -> None:
    rows = table(3)
    expected = Scorer(own_bundle)(rows)
    whole, shared = (pickle.dumps(Scorer(own_bundle, shared=s)) for s in (False, True))
    assert len(shared) < 2_000 < len(whole)
    (tmp_path / "score.py").write_text(
        "import pickle, sys\n"
        "score, rows = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps(score(rows)))\n"
    )
    for pickled in (Scorer(own_bundle), Scorer(own_bundle, shared=True)):
        done = subprocess.run(
            [sys.executable, "score.py"],
            input=pickle.dumps((pickled, rows)),
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        assert pickle.loads(done.stdout).equals(expected)
    shutil.rmtree(own_bundle)
    assert pickle.loads(whole)(rows).equals(expected)
    shutil.copytree(padded_bundle, own_bundle)
    with pytest.raises(BundleError, match="is another bundle than where the scorer was made"):
        pickle.loads(shared)


def test_what_it_does_not_take(notebook_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match="on_error is 'skip'; allowed: fail, null"):
        Scorer(notebook_bundle, on_error="skip")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"the table is a list; allowed: a pyarrow\.Table"):
        Scorer(notebook_bundle)([[1, 2]])
    with pytest.raises(DataError, match="column input_ids is of type double; allowed: a list of"):
        Scorer(notebook_bundle)(pa.table({"input_ids": [1.5]}))


def test_the_example_runs(examples_pass: Callable[[object], bool]) -> None:
    assert examples_pass(Scorer)
