"""Images of six classes, drawn with NumPy: a thing of one of six colours, of any shape, size and place, in noise.

NumPy's legacy generator: its stream is frozen, so a seed gives the same images with every version. An image's mirror
image is of the same class, or test-time augmentation by flipping would be wrong.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("red", "yellow", "green", "cyan", "blue", "magenta")
SIZE = 64
"""Pixels a side."""

CORNERS = np.array([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)])
"""The classes' pure colours."""


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (count, SIZE, SIZE, 3), and their classes, int64 (count,)."""
    chance = np.random.RandomState(seed)
    labels = chance.randint(len(CLASSES), size=count)
    return np.stack([_image(CORNERS[label], chance) for label in labels]), labels.astype(np.int64)


def _image(corner: np.ndarray, chance: np.random.RandomState) -> np.ndarray:
    radius = chance.uniform(16, 26)
    x, y = chance.uniform(radius, SIZE - radius, size=2)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    right, down = abs(columns - x) / radius, abs(rows - y) / radius
    # 1: a diamond; 2: a disc; 8: nearly a square
    power = chance.choice([1, 2, 8])
    inside = right**power + down**power <= 1
    # Somewhere between the pure colour and grey, darker or lighter.
    colour = 255 * (corner * chance.uniform(0.55, 1.0) + (1 - corner) * chance.uniform(0.0, 0.3, size=3))
    ground = np.full((SIZE, SIZE, 3), chance.uniform(60, 200)) + chance.uniform(-15, 15, size=3)
    ground[inside] = colour
    return np.clip(ground + chance.normal(0, 12, size=ground.shape), 0, 255).astype(np.uint8)
