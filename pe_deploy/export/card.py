"""The README of a bundle: a short model card, with the metadata that model hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.artifacts import C_SOURCE, MODELS, ONNX, TORCHSCRIPT
from pe_deploy.bundle.describe import text_facts
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.config import Label
from pe_deploy.parity.losses import Loss

_HERE = '"path/to/this/folder"'
_USAGE_OF_C = f"""from pe_deploy import NativeClassifier

classifier = NativeClassifier({_HERE}, build="path/to/this/folder.build")"""


def model_card(
    manifest: Manifest,
    files: Mapping[str, bytes],
    example: NDArray[np.int64],
    text: str = "",
    license_id: str | None = None,
    losses: Sequence[Loss] = (),
) -> str:
    """Say what the model takes and gives, how it was proved, and how to use it.

    Args:
        manifest: of the bundle.
        files: of the bundle, by name.
        example: a row of ids that the model takes, int64 `[sequence]`.
        text: a text, where it takes some.
        license_id: as hubs have it, "apache-2.0"; None where it is not stated.
        losses: what rounding its weights cost.
    """
    signature = manifest.signature
    axes = ", ".join(str(axis) for axis in signature.output_axes)
    padding = (
        "every row of a batch has the same length"
        if signature.pad_id is None
        else f"shorter rows are right-padded with {signature.pad_id}, which never changes an answer"
    )
    labels = ", ".join(_code(label) for label in manifest.labels[:20])
    more = f" and {len(manifest.labels) - 20} more" if len(manifest.labels) > 20 else ""
    title, gets = _subject(manifest)
    names = "numbers" if signature.task == "regression" else "labels"
    models = "\n".join(
        f"| `{name}` | {len(files[name]):,} | {description} |"
        for name, description in MODELS.items()
        if name in files
    )
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    parity = manifest.parity
    replayed = (
        "`parity.json` holds the evidence, and `golden.npz` replays it without torch: give\n"
        "this folder to `pe-deploy verify --golden-only`."
    )
    if ONNX in files:
        evidence = replayed
        usage = f"from pe_deploy import OnnxClassifier\n\nclassifier = OnnxClassifier({_HERE})"
    elif TORCHSCRIPT in files:
        evidence = "`parity.json` holds the evidence: `pe-deploy verify` makes it again."
        usage = (
            "from pe_deploy.runtime.torchscript import TorchScriptClassifier\n\n"
            f"classifier = TorchScriptClassifier({_HERE})"
        )
    else:
        evidence, usage = replayed, _USAGE_OF_C
    compared = "the trained one" if manifest.compact is None else "torch on the rounded weights"
    shown = json.dumps([text], ensure_ascii=False) if text else [example.tolist()]
    return f"""{_metadata(manifest, files, license_id)}
# {title}

A bundle made by pe_deploy. {gets}.

| | |
| --- | --- |
| input | `input_ids`, int64 `[batch, sequence]`: ids 0 to {signature.vocab_size - 1}, \
{signature.min_length} to {signature.max_length} a row; {padding} |
{_text_rows(manifest)}| output | `logits`, float32 `[{axes}]` |
| answer | {_answer(manifest)} |
| {names} | {labels}{more} |
| weights | SHA-256 `{manifest.weights_sha256}` |
| made with | {versions} |

| file | bytes | what |
| --- | ---: | --- |
{models}

Before it was published, every model here was compared with {compared}, over shapes and
edge cases:

| proof | |
| --- | ---: |
| cells compared | {parity["cells"]} |
| largest difference of a logit | {parity["worst_difference"]:.1e} |
| float32 torch itself is off from exact by | {parity["floor"]:.1e} |
| allowed in a cell | {parity["tolerance"]} |

{_rounding(manifest, losses)}{evidence}

```python
{usage}
classifier.predict({shown})
```
{_in_c(files)}"""


def _in_c(files: Mapping[str, bytes]) -> str:
    """How to use the C; empty where there is none."""
    if C_SOURCE not in files:
        return ""
    how = (
        "`model.c` needs a compiler and nothing else: `model.h` says how to call it. For Python,\n"
        f"`pe-deploy build {_HERE}` compiles it once on each machine"
    )
    if ONNX not in files and TORCHSCRIPT not in files:
        return f"\n{how}.\n"
    return f"\n{how}:\n\n```python\n{_USAGE_OF_C}\n```\n"


def _rounding(manifest: Manifest, losses: Sequence[Loss]) -> str:
    """What rounding the weights cost, as a table; empty where they are as they were trained."""
    compact = manifest.compact
    if compact is None:
        return ""
    lines = [
        f"The weights were rounded to {compact.dtype}, from those with the SHA-256",
        f"`{compact.trained_sha256}`. What that changes:",
        "",
        "| rows | largest change of a logit | spread of logits | flips | their largest margin |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for it in losses:
        flips = "–" if it.flips is None else f"{it.flips:,} of {it.decisions:,}"
        margin = f"{it.margins[0]:.1e}" if it.margins else "–"
        row = (f"{it.rows:,} {it.kind}", f"{it.difference:.1e}", f"{it.spread:.1e}", flips, margin)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, "", ""])


def _metadata(manifest: Manifest, files: Mapping[str, bytes], license_id: str | None) -> str:
    """The block of YAML that hubs read, as https://huggingface.co/docs/hub/model-cards has it.

    A pipeline is stated where one fits: those that begin with text.
    """
    tags = [
        "onnx" if ONNX in files else None,
        "onnxruntime" if ONNX in files else None,
        "torchscript" if TORCHSCRIPT in files else None,
        "pe-deploy",
    ]
    pipeline = "token" if manifest.signature.task == "tokens" else "text"
    stated = {
        "library_name": "pe-deploy",
        "license": license_id,
        "pipeline_tag": f"{pipeline}-classification" if manifest.text is not None else None,
    }
    lines = [f"{name}: {value}" for name, value in stated.items() if value is not None]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags if tag), "---", ""])


def _text_rows(manifest: Manifest) -> str:
    """How texts become rows of ids, as rows of the table; empty where none do."""
    if manifest.text is None:
        return ""
    rows = ((name, str(said).replace("|", "\\|")) for name, said in text_facts(manifest.text))
    return "".join(f"| {name} | {said} |\n" for name, said in rows)


def _subject(manifest: Manifest) -> tuple[str, str]:
    """What the model is, and what its rows get from it."""
    count = len(manifest.labels)
    match manifest.signature.task:
        case "multilabel":
            return (
                "Multilabel sequence classifier",
                f"Each row of token ids gets any of {count} labels",
            )
        case "tokens":
            return "Token classifier", f"Each token of a row gets one of {count} labels"
        case "regression":
            numbers = "a number" if count == 1 else f"{count} numbers"
            return "Sequence regression", f"Each row of token ids gets {numbers}"
        case _:
            return "Sequence classifier", f"Each row of token ids gets one of {count} labels"


def _answer(manifest: Manifest) -> str:
    """How an answer is taken from the logits."""
    task, threshold = manifest.signature.task, manifest.threshold
    if task == "regression":
        return "the logits, as they are"
    if task == "multilabel":
        return f"each label where the sigmoid of its logit is above {threshold:g}"
    answer = (
        "the label with the largest logit"
        if threshold is None
        else f"{_code(manifest.labels[1])} where the sigmoid of the logit is above "
        f"{threshold:g}, else {_code(manifest.labels[0])}"
    )
    if task == "tokens":
        return f"for each token, {answer}; what the model gives for padding is no answer"
    return answer


def _code(label: Label) -> str:
    """A label as Markdown code in a table's cell, on one line whatever it holds."""
    text = json.dumps(label, ensure_ascii=False) if isinstance(label, str) else str(label)
    return f"`` {text} ``".replace("|", "\\|")
