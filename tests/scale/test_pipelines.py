"""`Scorer` in people's own pipelines, as docs/scale.md shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pe_deploy.scale import Scorer
from tests.scale.needs import needs

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text()
SNIPPETS = dict(re.findall(r"### ([^\n]+)\n+```python\n(.*?)```", PAGE, flags=re.S))
NEEDS = {
    "pandas": ("pandas",),
    "Polars": ("polars",),
    "DuckDB": ("duckdb",),
    "Ray Data": ("ray",),
    "Spark": ("pyspark", "java"),
}


def test_each_is_shown() -> None:
    assert set(SNIPPETS) == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_snippet_writes_what_a_scorer_answers(name: str, tmp_path: Path) -> None:
    needs(*NEEDS[name])
    (tmp_path / "models").mkdir()
    shutil.copytree(ROOT / "models" / "demo", tmp_path / "models" / "demo")
    rows = _rows()
    pq.write_table(rows, tmp_path / "rows.parquet")
    (tmp_path / "snippet.py").write_text(SNIPPETS[name])
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "answers").sort_by("key")
    expected = Scorer(ROOT / "models" / "demo")(rows)
    assert found.column_names == expected.column_names
    assert found["label"].to_pylist() == expected["label"].to_pylist()
    assert found["key"].to_pylist() == expected["key"].to_pylist()


def _rows() -> object:
    import numpy as np
    import pyarrow as pa

    ids = np.random.default_rng(3).integers(0, 17, (2_000, 64))
    return pa.table({"key": np.arange(2_000), "input_ids": list(ids)})
