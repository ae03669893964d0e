"""Digits as people draw them: the line of a pen, in a box of one by about one and a half."""

from __future__ import annotations

import math

import numpy as np

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, wide: float, high: float, start: int, end: int) -> Stroke:
    """Part of an ellipse, in degrees, clockwise as y grows downwards."""
    turns = np.radians(np.linspace(start, end, 24))
    return [(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns]


DIGITS: list[list[list[Stroke]]] = [
    [[arc(0.5, 0.7, 0.45, 0.7, -90, 270)], [arc(0.5, 0.7, 0.35, 0.7, -90, 270)]],
    [[[(0.5, 0), (0.5, 1.4)]], [[(0.2, 0.35), (0.5, 0), (0.5, 1.4)]], [[(0.6, 0), (0.4, 1.4)]]],
    [
        [[*arc(0.5, 0.4, 0.42, 0.4, -170, 30), (0.05, 1.4), (0.95, 1.4)]],
        [[*arc(0.5, 0.4, 0.42, 0.4, -180, 50), (0.3, 1.15), (0.05, 1.4), (0.95, 1.4)]],
    ],
    [
        [arc(0.45, 0.36, 0.4, 0.36, -150, 90) + arc(0.45, 1.04, 0.45, 0.38, -90, 150)],
        [[(0.05, 0), (0.9, 0), (0.45, 0.55), *arc(0.45, 0.97, 0.45, 0.43, -90, 150)]],
    ],
    [
        [[(0.7, 1.4), (0.7, 0), (0.05, 0.95), (1, 0.95)]],
        [[(0.15, 0), (0.1, 0.7), (0.9, 0.7)], [(0.8, 0), (0.75, 1.4)]],
        [[(0.6, 0), (0.05, 0.9), (1, 0.9)], [(0.7, 0.5), (0.7, 1.4)]],
    ],
    [
        [[(0.9, 0), (0.15, 0), (0.12, 0.6), *arc(0.45, 0.95, 0.45, 0.43, -130, 140)]],
        [
            [(0.15, 0), (0.12, 0.6), *arc(0.45, 0.95, 0.45, 0.43, -130, 140)],
            [(0.15, 0), (0.9, 0)],
        ],
    ],
    [
        [[(0.75, 0), (0.35, 0.35), *arc(0.5, 0.98, 0.42, 0.42, -190, 170)]],
        [[(0.65, 0), (0.25, 0.5), (0.12, 0.95), *arc(0.5, 1.0, 0.38, 0.38, 180, -180)]],
    ],
    [
        [[(0.05, 0), (0.95, 0), (0.35, 1.4)]],
        [[(0.05, 0), (0.95, 0), (0.4, 1.4)], [(0.25, 0.7), (0.9, 0.7)]],
    ],
    [
        [
            [
                *arc(0.5, 0.35, 0.3, 0.32, -40, -250),
                *arc(0.5, 1.03, 0.36, 0.36, -60, 240),
                (0.75, 0.15),
            ]
        ]
    ],
    [
        [[*arc(0.5, 0.4, 0.4, 0.4, 0, -360), (0.88, 0.8), (0.8, 1.4)]],
        [[*arc(0.5, 0.4, 0.38, 0.4, -20, -360), (0.88, 1.4)]],
    ],
]
"""Of each digit the ways in which it is drawn, each of one or more strokes."""


def drawn(digit: int, rng: np.random.Generator) -> list[Stroke]:
    """A digit in one of its ways, as a hand draws it: wider or narrower, slanted, uneven."""
    ways = DIGITS[digit]
    wide, slant, turn = rng.uniform(0.75, 1.25), rng.uniform(-0.25, 0.25), rng.uniform(-0.12, 0.12)
    phases, (ampler, higher) = rng.uniform(0, 6.28, 2), rng.uniform(0, 0.05, 2)
    strokes: list[Stroke] = []
    for stroke in ways[rng.integers(len(ways))]:
        moved: Stroke = []
        for x, y in stroke:
            v = y + higher * math.sin(3 * x + phases[1])
            u = (x + ampler * math.sin(3 * y + phases[0])) * wide - slant * v
            moved.append(
                (
                    0.3 + 0.4 * (u * math.cos(turn) - v * math.sin(turn)),
                    0.15 + 0.45 * (u * math.sin(turn) + v * math.cos(turn)),
                )
            )
        strokes.append(moved)
    return strokes
