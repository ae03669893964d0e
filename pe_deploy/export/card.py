"""The README of a bundle: a short model card."""

from __future__ import annotations

from collections.abc import Mapping

from pe_deploy.bundle import ONNX, TORCHSCRIPT, Manifest

_DESCRIPTIONS = {
    ONNX: "the model for ONNX Runtime, Triton, Node or the browser",
    TORCHSCRIPT: "the same model for `torch.jit.load`; it is code: load it only if you trust it",
}


def model_card(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    """Say what the model takes and gives, how it was proved, and how to use it."""
    signature = manifest.signature
    axes = ", ".join(str(axis) for axis in signature.output_axes)
    padding = (
        "every row of a batch has the same length"
        if signature.pad_id is None
        else f"shorter rows are right-padded with {signature.pad_id}, which never changes an answer"
    )
    decision = (
        "the label with the largest logit"
        if manifest.threshold is None
        else f"`{manifest.labels[1]}` where the sigmoid of the logit is above "
        f"{manifest.threshold:g}, else `{manifest.labels[0]}`"
    )
    labels = ", ".join(f"`{label}`" for label in manifest.labels[:20])
    more = f" and {len(manifest.labels) - 20} more" if len(manifest.labels) > 20 else ""
    models = "\n".join(
        f"| `{name}` | {len(files[name]):,} | {text} |"
        for name, text in _DESCRIPTIONS.items()
        if name in files
    )
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    parity = manifest.parity
    return f"""# Sequence classifier

A bundle made by pe_deploy. Each row of token ids gets one of {len(manifest.labels)} labels.

| | |
| --- | --- |
| input | `input_ids`, int64 `[batch, sequence]`: ids 0 to {signature.vocab_size - 1}, \
1 to {signature.max_length} a row; {padding} |
| output | `logits`, float32 `[{axes}]` |
| answer | {decision} |
| labels | {labels}{more} |
| weights | SHA-256 `{manifest.weights_sha256}` |
| made with | {versions} |

| file | bytes | what |
| --- | ---: | --- |
{models}

Before it was published, every model here was compared with the trained one over
{parity["cells"]} cells of shapes and edge cases; the largest difference of a logit was
{parity["worst_difference"]:.1e} (allowed: {parity["atol"]:g} + {parity["rtol"]:g} × |logit|).
`parity.json` holds the evidence, and `golden.npz` replays it without torch:
`pe-deploy verify --golden-only`.

```python
from pe_deploy import OnnxClassifier

classifier = OnnxClassifier(".")  # this folder
classifier.predict([[0, {signature.vocab_size - 1}]])
```
"""
