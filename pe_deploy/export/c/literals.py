"""Numbers and texts as C has them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

LANES = 16
"""Numbers of a panel of weights, and what the rows of a buffer are filled up to."""


def padded(width: int) -> int:
    """A width, filled up to whole panels."""
    return -(-width // LANES) * LANES


def number(value: float) -> str:
    """A float32 literal."""
    if np.isinf(np.float32(value)):
        return "INFINITE" if value > 0 else "-INFINITE"
    text = f"{float(np.float32(value)):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def array(name: str, values: NDArray[np.float64]) -> str:
    """A constant table of float32, aligned to the longest vector."""
    flat = np.asarray(values, np.float32).ravel().tolist()
    texts = [t + "f" if "." in t or "e" in t else t for t in map("{:.9g}".format, flat)]
    lines = [", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8)]
    body = ",\n    ".join(lines)
    return f"static const _Alignas(64) float {name}[{len(texts)}] = {{\n    {body}}};\n"


def text(value: str) -> str:
    """A string literal of its UTF-8 bytes."""
    made = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in value.encode()
    )
    return f'"{made}"'


def comment(value: str) -> str:
    """A text that cannot end the comment that it stands in."""
    return re.sub(r"[^ -~]", "?", value).replace("*/", "* /").replace("/*", "/ *")


def panels(matrix: NDArray[np.float64], lanes: int = LANES) -> NDArray[np.float64]:
    """Weights of gates, `[gates, outputs, inputs]`, as `[panel][inputs][gate][lanes]`.

    One gate is a plain matrix. Outputs are filled up with zeros.
    """
    gates, outputs, inputs = matrix.shape
    full = np.zeros((gates, padded(outputs), inputs))
    full[:, :outputs] = matrix
    return full.reshape(gates, -1, lanes, inputs).transpose(1, 3, 0, 2)


def gate_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is added to gates, `[rows, gates, outputs]`, as `[rows][panel][gate][16]`."""
    count, gates, outputs = rows.shape
    full = np.zeros((count, gates, padded(outputs)))
    full[:, :, :outputs] = rows
    return full.reshape(count, gates, -1, LANES).transpose(0, 2, 1, 3)
