"""`pe-deploy demo languages`: which language is a name in, by the bytes of its text?"""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pe_deploy.cli.console import facts, out
from pe_deploy.cli.demo_steps import export_step, suggest
from pe_deploy.cli.train import epochs_shown
from pe_deploy.data.languages import languages
from pe_deploy.errors import requires_extra
from pe_deploy.model_config import TrainConfig
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.storage.atomic import write_bytes

if TYPE_CHECKING:
    from pe_deploy.data.text_dataset import TextDataset

TRAINING = TrainConfig(
    epochs=12,
    batch_size=128,
    learning_rate=1e-2,
    shuffle=True,
    validation_fraction=0.05,
    weight_decay=0.1,
    schedule="cosine",
    bucket_by_length=True,
    crop=0.4,
    noise=0.1,
)
MAX_LENGTH = 48
"""Bytes; 1 name of 40 is longer, and is cut."""

_BAR = 30
_SHOWN = 5


def run(output: Path, checkpoint: Path, epochs: int | None) -> None:
    """Train, export, verify, and predict names of things that nothing before was a name of."""
    started = time.perf_counter()
    from pe_deploy.training import train

    names, held_out = languages()
    out.print(
        f"[bold]1. Data[/bold]: {len(names) + len(held_out):,} names of countries, currencies, "
        f"units and the like in\n   {len(names.labels)} languages, from Unicode's CLDR; "
        f"{len(held_out):,} are held out: of things that have\n   no other name in training"
    )
    with epochs_shown() as moved:
        result = train(
            names,
            checkpoint,
            train_config=replace(TRAINING, epochs=epochs or TRAINING.epochs),
            tokenizer="bytes",
            truncation="end",
            max_length=MAX_LENGTH,
            progress=moved,
            embedding_dim=64,
            hidden_dim=192,
            num_layers=1,
        )
    trained = time.perf_counter()
    out.print(
        f"[bold]2. Train[/bold]: {result.last.epoch} epochs in {trained - started:.0f} s "
        f"→ {escape(str(checkpoint))}"
    )
    manifest = export_step(checkpoint, output)
    labels, probabilities = OnnxClassifier(output).predict_with_probability(list(held_out.texts))
    truth = np.array(held_out.labels)[held_out.targets]
    right = labels == truth
    compared = time.perf_counter()
    linear = linear_accuracy(names, held_out)
    out.print(
        f"[bold]4. Predict[/bold]: onnxruntime alone gets [bold]{right.mean():.1%}[/bold] "
        f"of the {len(held_out):,} held-out names right;\n   a linear model of all "
        f"n-grams of 1 to 5 characters gets {linear:.1%} "
        f"({time.perf_counter() - compared:.0f} s to train)\n"
    )
    _print_bars(held_out.labels, right, truth)
    _print_names(held_out.texts, labels, probabilities, truth)
    texts = output.with_name(f"{output.name}-held-out.csv")
    write_bytes(texts, _csv(held_out))
    facts(
        f"Done in {time.perf_counter() - started:.0f} s",
        [
            ("bundle", f"{output} (model.onnx: {manifest.files['model.onnx'].size:,} bytes)"),
            ("held-out names", texts),
        ],
    )
    suggest(
        f'pe-deploy predict {output} --text "neuseeländische Schafe"',
        f"pe-deploy predict {output} {texts} -o predictions.csv",
        f"pe-deploy inspect {output}",
    )


def linear_accuracy(names: TextDataset, held_out: TextDataset) -> float:
    """What there is to beat: a support vector machine over the n-grams of words, by TF-IDF.

    Of the linear models that were tried it is the best: of words rather than of whole names, with
    their case, and up to 5 characters.
    """
    with requires_extra("train"):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 5), lowercase=False, sublinear_tf=True
    )
    machine = LinearSVC(random_state=0).fit(vectorizer.fit_transform(names.texts), names.targets)
    answers = machine.predict(vectorizer.transform(held_out.texts))
    return float((answers == held_out.targets).mean())


def _print_bars(labels: tuple[Any, ...], right: NDArray[Any], truth: NDArray[Any]) -> None:
    shares = {label: right[truth == label].mean() for label in labels}
    drawn = Table(box=None, show_header=False, padding=(0, 1))
    for label, share in sorted(shares.items(), key=lambda each: -each[1]):
        bar = Text("█" * round(share * _BAR), style="green")
        drawn.add_row(str(label), bar, f"{share:.0%}")
    out.print(drawn)
    out.print()


def _print_names(
    texts: Any, labels: NDArray[Any], probabilities: NDArray[np.float64], truth: NDArray[Any]
) -> None:
    """A few names with their answers: some that are right, and the surest mistake."""
    right, wrong = np.flatnonzero(labels == truth), np.flatnonzero(labels != truth)
    some = right[:: max(1, len(right) // _SHOWN)][:_SHOWN]
    mistakes = wrong[np.argsort(-probabilities[wrong])][:1]
    drawn = Table(box=None, show_header=False, padding=(0, 1))
    for row in [*some, *mistakes]:
        is_right = labels[row] == truth[row]
        answer = Text(
            f"{labels[row]} ({probabilities[row]:.0%})", style="green" if is_right else "red"
        )
        drawn.add_row(Text(texts[row]), answer, "" if is_right else f"is {truth[row]}")
    out.print(drawn)
    out.print()


def _csv(held_out: TextDataset) -> bytes:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["text", "label"])
    for text, target in zip(held_out.texts, held_out.targets.tolist(), strict=True):
        writer.writerow([text, held_out.labels[target]])
    return lines.getvalue().encode()
