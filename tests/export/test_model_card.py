from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import InvalidInputError, Manifest, Signature, open_bundle
from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.export import ExportOptions
from pe_deploy.export.card import model_card

PARITY = {"cells": 7, "worst_difference": 1e-7, "floor": 1e-7, "tolerance": "4 × floor + 1e-06"}


@pytest.mark.parametrize(
    ("more", "labels", "threshold", "said"),
    [
        (
            {"num_classes": 3},
            ("a", "b", "c"),
            None,
            [
                "# Sequence classifier",
                "Each row of token ids gets one of 3 labels.",
                "ids 0 to 8, 1 to 6 a row;",
                "| output | `logits`, float32 `[batch, 3]` |",
                "| answer | the label with the largest logit |",
            ],
        ),
        (
            {"task": "multilabel", "num_classes": 2, "min_length": 2},
            ("rude", "loud"),
            0.25,
            [
                "# Multilabel sequence classifier",
                "Each row of token ids gets any of 2 labels.",
                "2 to 6 a row;",
                "| output | `logits`, float32 `[batch, 2]` |",
                "| answer | each label where the sigmoid of its logit is above 0.25 |",
            ],
        ),
        (
            {"task": "tokens", "num_classes": 3, "pad_id": 0},
            ("O", "B", "I"),
            None,
            [
                "# Token classifier",
                "Each token of a row gets one of 3 labels.",
                "| output | `logits`, float32 `[batch, sequence, 3]` |",
                "| answer | for each token, the label with the largest logit; what the model gives "
                "for padding is no answer |",
            ],
        ),
        (
            {"task": "regression", "num_classes": 2},
            ("width", "height"),
            None,
            [
                "# Sequence regression",
                "Each row of token ids gets 2 numbers.",
                "| answer | the logits, as they are |",
                '| numbers | `` "width" ``, `` "height" `` |',
            ],
        ),
        ({"task": "regression"}, ("price",), None, ["Each row of token ids gets a number."]),
    ],
)
def test_a_card_says_what_a_row_gets(
    more: dict[str, Any], labels: tuple[str, ...], threshold: float | None, said: list[str]
) -> None:
    manifest = Manifest(Signature(9, 6, **more), labels, threshold, "a" * 64, parity=PARITY)
    card = model_card(manifest, {ONNX: b""}, np.array([1, 2, 3]))
    for text in said:
        assert text in card


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [("words", "text-classification"), ("multilabel", None), ("tokens", None)],
)
def test_a_hub_reads_the_card(root: Path, name: str, pipeline: str | None) -> None:
    from huggingface_hub import ModelCard  # which asks no network

    bundle = open_bundle(root / "tests" / "bundles" / name)
    example = bundle.golden()[0].input_ids[0]
    card = ModelCard(model_card(bundle.manifest, bundle.files, example, "x", "apache-2.0"))
    data = card.data.to_dict()
    assert data["library_name"] == "pe-deploy"
    assert data["license"] == "apache-2.0"
    assert data.get("pipeline_tag") == pipeline
    assert data["tags"] == ["onnx", "onnxruntime", "torchscript", "pe-deploy"]
    assert card.text.lstrip().startswith("# ")
    published = ModelCard.load(root / "tests" / "bundles" / name / "README.md")
    assert "license" not in published.data.to_dict()
    assert published.data.to_dict().get("pipeline_tag") == pipeline


@pytest.mark.parametrize("said", ["Apache 2.0", "", "MIT", "a\nb: c"])
def test_a_license_is_one_of_a_hubs_names(said: str) -> None:
    with pytest.raises(InvalidInputError, match=r"license is .* allowed: a hub's name for it"):
        ExportOptions(license=said)
