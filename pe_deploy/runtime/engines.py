"""What runs a model, by the names that reports use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Predictor = Callable[["NDArray[np.int64]"], "NDArray[np.floating[Any]]"]
"""From int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`."""
