"""What training did to the positional table: figures, arrays and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pe_deploy.errors import requires_extra
from pe_deploy.storage import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Table = NDArray[np.float32]
"""A positional table, `[max_length, embedding_dim]`."""


@dataclass(frozen=True)
class PositionShift:
    """How far training moved the positional table.

    Attributes:
        moved: whether the two tables differ by more than rounding (`numpy.allclose`).
        mean: mean over the positions of the distance (L2) between a position's two vectors.
        max: the largest of these distances.
        position: the position that moved so far, counted from 0.
    """

    moved: bool
    mean: float
    max: float
    position: int


def shift_between(initial: Table, final: Table) -> PositionShift:
    """Compare the tables before and after training."""
    distances = _distances(initial, final)
    return PositionShift(
        moved=not np.allclose(initial, final),
        mean=float(distances.mean()),
        max=float(distances.max()),
        position=int(distances.argmax()),
    )


def save_positions(initial: Table, final: Table, path: Path) -> None:
    """Write an `.npz` with the arrays `initial` and `final`."""
    buffer = io.BytesIO()
    np.savez(buffer, initial=initial, final=final)
    atomic.write_bytes(path, buffer.getvalue())


def plot_positions(initial: Table, final: Table, path: Path) -> None:
    """Draw the tables before and after, their difference, and what positions have in common.

    Positions run down every panel, so a row of one panel is the same position in all. The PNG
    holds no date and no version: the same tables and the same matplotlib give the same bytes.
    """
    # The figure is made without pyplot: nothing global changes, no window system is needed.
    with requires_extra("train"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    shift = shift_between(initial, final)
    figure.suptitle(
        f"Training moved each position by {shift.mean:.3g} on average, "
        f"at most by {shift.max:.3g} (position {shift.position})",
        fontsize=14,
    )
    axes = figure.subplot_mosaic(
        [["initial", "initial", "final"], ["difference", "distances", "similarity"]],
        width_ratios=(5, 1, 6),
        gridspec_kw={"hspace": 0.06, "wspace": 0.04},
    )

    most = max(largest(initial), largest(final))  # one scale, so the two can be compared
    draw(axes["initial"], initial, "Before training: random", "value", most)
    draw(axes["final"], final, "After training", "value", most)
    difference = final - initial
    draw(axes["difference"], difference, "What training added", "change", largest(difference))
    distances = _distances(initial, final)
    axes["distances"].barh(np.arange(len(distances)), distances, height=0.8, color="0.35")
    axes["distances"].sharey(axes["difference"])
    axes["distances"].set_title("How far")
    axes["distances"].set_xlabel("distance (L2)")
    axes["distances"].tick_params(labelleft=False)
    draw(
        axes["similarity"],
        _cosine_similarities(final),
        "How alike positions are after training",
        "cosine similarity",
        1.0,
        across="position",
    )

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic.write_bytes(path, buffer.getvalue())


def draw(
    axes: Axes,
    values: Table,
    title: str,
    unit: str,
    largest: float,
    across: str = "embedding dimension",
) -> None:
    """Draw a table as a picture of its values; white is 0."""
    from matplotlib.ticker import MaxNLocator

    image = axes.imshow(
        values,
        cmap="RdBu_r",
        vmin=-largest,  # symmetrical: white is exactly 0
        vmax=largest,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel("position")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.colorbar(image, ax=axes, label=unit, pad=0.02)


def _distances(initial: Table, final: Table) -> Table:
    distances: Table = np.linalg.norm(final - initial, axis=1)  # [max_length]
    return distances


def _cosine_similarities(table: Table) -> Table:
    lengths = np.linalg.norm(table, axis=1, keepdims=True)  # [max_length, 1]
    unit = table / np.maximum(lengths, np.finfo(np.float32).tiny)  # [max_length, embedding_dim]
    similarities: Table = unit @ unit.T  # [max_length, max_length]
    return similarities


def largest(values: Table) -> float:
    """The largest absolute value."""
    return float(np.abs(values).max()) or 1.0  # a scale needs some extent
