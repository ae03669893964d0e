"""`pe-deploy demo digits`: which digit is an image of, by its pixels in reading order?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.columns import Columns
from rich.markup import escape
from rich.panel import Panel

from pe_deploy.cli.console import facts, out
from pe_deploy.cli.demo_steps import export_step, suggest
from pe_deploy.cli.train import epochs_shown
from pe_deploy.data import digits, split
from pe_deploy.model_config import TrainConfig
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.storage.atomic import write_bytes

HELD_OUT = 0.2
TRAINING = TrainConfig(
    epochs=12,
    batch_size=64,
    learning_rate=1e-2,
    shuffle=True,
    validation_fraction=0.1,
    update_gate_bias=3.0,
)

_SHADES = " ░▒▓█"
_DRAWN = 4


def run(output: Path, checkpoint: Path, epochs: int | None) -> None:
    """Train on handwritten digits, export, verify, and predict images never seen before."""
    started = time.perf_counter()
    from pe_deploy.training import train

    rows, held_out = split(digits(), HELD_OUT, TRAINING.seed)
    out.print(
        f"[bold]1. Data[/bold]: {len(rows) + len(held_out)} handwritten digits of 8×8 pixels, "
        f"each a row of 64 ids;\n   {len(held_out)} are held out and not looked at before step 4"
    )
    with epochs_shown() as moved:
        result = train(
            rows,
            checkpoint,
            train_config=replace(TRAINING, epochs=epochs or TRAINING.epochs),
            embedding_dim=8,
            hidden_dim=64,
            dropout=0.4,
            progress=moved,
        )
    trained = time.perf_counter()
    out.print(
        f"[bold]2. Train[/bold]: {result.last.epoch} epochs in {trained - started:.0f} s "
        f"→ {escape(str(checkpoint))}\n"
        f"   best epoch {result.best.epoch}: {result.best.val_accuracy:.1%} of "
        f"{result.validation_rows} validation rows right; positions moved by "
        f"{result.shift.mean:.2f}"
    )
    manifest = export_step(checkpoint, output)
    classifier = OnnxClassifier(output)
    labels, probabilities = classifier.predict_with_probability(held_out.input_ids)
    truth = np.array(held_out.labels)[held_out.targets]
    images = output.with_name(f"{output.name}-held-out.csv")
    answers = zip(held_out.input_ids, truth, strict=True)
    lines = (f"{' '.join(map(str, ids))},{label}\n" for ids, label in answers)
    write_bytes(images, ("input_ids,label\n" + "".join(lines)).encode())
    out.print(
        "[bold]4. Predict[/bold]: onnxruntime alone gets "
        f"[bold]{(labels == truth).mean():.1%}[/bold] of the {len(held_out)} "
        "held-out digits right\n"
    )
    out.print(_drawings(held_out.input_ids, labels, probabilities, truth))
    size = manifest.files["model.onnx"].size
    facts(
        f"Done in {time.perf_counter() - started:.0f} s",
        [
            ("bundle", f"{output} (model.onnx: {size:,} bytes)"),
            ("positions", checkpoint / "positions.png"),
            ("held-out rows", images),
        ],
    )
    suggest(
        f"pe-deploy predict {output} {images} -o predictions.csv",
        f"pe-deploy inspect {output}",
    )


def _drawings(
    images: NDArray[np.int64],
    labels: NDArray[Any],
    probabilities: NDArray[np.float64],
    truth: NDArray[Any],
) -> Columns:
    """A few images with their answers: the first that are right, and the surest mistake."""
    correct, wrong = np.flatnonzero(labels == truth), np.flatnonzero(labels != truth)
    mistakes = wrong[np.argsort(-probabilities[wrong])][:1]
    chosen = [*correct[: _DRAWN - len(mistakes)], *mistakes]
    pictures = []
    for row in chosen:
        right = labels[row] == truth[row]
        # Two characters a pixel: a terminal's cells are about twice as high as wide.
        shades = images[row].reshape(8, 8) * (len(_SHADES) - 1) // 16
        pictures.append(
            Panel(
                "\n".join("".join(_SHADES[shade] * 2 for shade in line) for line in shades),
                title=f"{labels[row]} ({probabilities[row]:.0%})",
                subtitle="right" if right else f"is a {truth[row]}",
                border_style="green" if right else "red",
                width=18,
                padding=0,
            )
        )
    return Columns(pictures)
