"""A training run as the commands print it and a notebook shows it: a table and a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pe_deploy.training.epoch import EpochMetrics
from pe_deploy.training.positions import Table as Positions
from pe_deploy.training.positions import draw, largest
from pe_deploy.view.html import Table

_EPOCHS_SHOWN = 30

_GREY = "0.5"
"""Legible on white and on black."""


def epochs_table(metrics: Sequence[EpochMetrics], best: EpochMetrics) -> Table:
    """A line an epoch, thinned out where there are many; ★ marks the best."""
    step = -(-len(metrics) // _EPOCHS_SHOWN)
    columns = ["epoch", "loss (sum)", "accuracy"]
    if best.val_loss is not None:
        columns += ["val loss", "val accuracy"]
    rows: list[tuple[object, ...]] = []
    for epoch in metrics:
        if epoch.epoch % step and epoch not in (best, metrics[-1]):
            continue
        number = f"{epoch.epoch}{' ★' if epoch is best else ''}"
        row = [number, f"{epoch.loss:.6f}", f"{epoch.accuracy:.1%}"]
        if epoch.val_loss is not None and epoch.val_accuracy is not None:
            row += [f"{epoch.val_loss:.4f}", f"{epoch.val_accuracy:.1%}"]
        if epoch.val_auc is not None:
            row.append(f"{epoch.val_auc:.3f}")
        rows.append(tuple(row))
    if best.val_auc is not None:
        columns.append("val AUC")
    return "Training" if step == 1 else f"Training (every {step}th epoch)", tuple(columns), rows


def picture(metrics: Sequence[EpochMetrics], initial: Positions, final: Positions) -> bytes:
    """The loss of each epoch, the positional table before and after: a PNG for any background."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 2.7), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    loss, before, after, change = figure.subplots(1, 4)
    epochs = [epoch.epoch for epoch in metrics]
    style = "o-" if len(epochs) < 3 else "-"
    loss.plot(epochs, [epoch.mean_loss for epoch in metrics], style, color="C0", label="training")
    validated = [epoch.val_loss for epoch in metrics if epoch.val_loss is not None]
    if validated:
        loss.plot(epochs, validated, style, color="C1", label="validation")
    loss.set(title="Loss of a row", xlabel="epoch")
    loss.set_ylim(bottom=0)
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.legend(frameon=False, labelcolor=_GREY)
    most = max(largest(initial), largest(final))  # one scale, so the two can be compared
    draw(before, initial, "Positions before", "value", most)
    draw(after, final, "Positions after", "value", most)
    draw(change, final - initial, "What training added", "change", largest(final - initial))
    for axes in figure.axes:
        axes.tick_params(colors=_GREY)
        axes.patch.set_alpha(0)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(_GREY)
        for spine in axes.spines.values():
            spine.set_color(_GREY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True, metadata={"Software": None})
    return buffer.getvalue()
