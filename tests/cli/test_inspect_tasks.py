from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import Manifest, Signature
from pe_deploy.bundle.bundle import write_bundle


@pytest.mark.parametrize(
    ("more", "labels", "threshold", "lines"),
    [
        (
            {"task": "tokens", "num_classes": 3, "pad_id": 0, "min_length": 5},
            ("O", "B", "I"),
            None,
            ["task tokens", "length 5 to 24", "output logits: float32 [batch, sequence, 3]"],
        ),
        (
            {"task": "multilabel", "num_classes": 2},
            ("rude", "loud"),
            0.25,
            ["task multilabel", "length 1 to 24", "labels rude, loud", "threshold 0.25"],
        ),
        (
            {"task": "regression"},
            ("price",),
            None,
            ["task regression", "numbers price", "output logits: float32 [batch]"],
        ),
    ],
)
def test_inspect_says_what_a_row_gets(
    run: Callable[..., Any],
    tmp_path: Path,
    more: dict[str, Any],
    labels: tuple[str, ...],
    threshold: float | None,
    lines: list[str],
) -> None:
    (tmp_path / "bundle").mkdir()
    write_bundle(
        tmp_path / "bundle", Manifest(Signature(30, 24, **more), labels, threshold, "a" * 64), {}
    )
    done = run("inspect", "bundle")
    assert (done.code, done.err) == (0, "")
    shown = [" ".join(line.split()) for line in done.out.splitlines()]
    assert [line for line in lines if line not in shown] == []
