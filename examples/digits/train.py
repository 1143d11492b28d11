"""Trains the example's model: a small CNN on scikit-learn's handwritten digits, as TorchScript.

The 1797 images of 8x8 pixels (0..16) come with scikit-learn: nothing is downloaded. 360 of them are
held out; the rest trains the network in seconds on one CPU. The split is the same with every version of
NumPy; the weights with one version of torch on one kind of CPU.

Writes MODEL and HELDOUT (one line a digit: 64 pixels, then the label, as the data set's own files have it).
Fails when the held-out accuracy is below 95 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

SEED = 7
HELD_OUT = 360
EPOCHS = 30
BATCH = 64
REQUIRED = 0.95


def network() -> nn.Sequential:
    """About 20,000 parameters; input (N, 1, 8, 8) in 0..1, output (N, 10) logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def to_images(pixels: np.ndarray) -> torch.Tensor:
    """(N, 64) pixels of 0..16 to a float tensor (N, 1, 8, 8) in 0..1."""
    return torch.from_numpy(pixels.astype(np.float32)).reshape(-1, 1, 8, 8) / 16


def train(pixels: np.ndarray, labels: np.ndarray) -> nn.Sequential:
    """A trained network for (N, 64) pixels and (N,) labels."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    images, targets = to_images(pixels), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), targets[batch]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, pixels: np.ndarray, labels: np.ndarray) -> float:
    """The share of (N, 64) pixels that get their (N,) label."""
    with torch.inference_mode():
        return (model(to_images(pixels)).argmax(dim=1).numpy() == labels).mean().item()


def main() -> None:
    """Trains, checks and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("digits.pt"))
    parser.add_argument("--heldout", type=Path, default=Path("heldout.csv"))
    options = parser.parse_args()

    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.int64)
    # NumPy's legacy generator: its stream is frozen, so the split is the same with every version.
    order = np.random.RandomState(SEED).permutation(len(labels))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]

    model = train(pixels[rest], labels[rest])
    share = accuracy(model, pixels[held_out], labels[held_out])
    print(f"trained on {len(rest)} digits, {100 * share:.1f} % of {HELD_OUT} held-out digits right")
    if share < REQUIRED:
        sys.exit(f"expected at least {100 * REQUIRED:.0f} %")
    torch.jit.script(model).save(str(options.model))
    rows = (",".join(map(str, [*pixels[i], labels[i]])) for i in held_out)
    options.heldout.write_text("".join(f"{row}\n" for row in rows), encoding="ascii")


if __name__ == "__main__":
    main()
