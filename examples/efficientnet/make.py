"""Trains an EfficientNet-B0 for six classes and lays out the folder that is uploaded.

OUT/efficientnet.pt is TorchScript, traced: the server needs neither this file nor the network's source. Weights start
from a seed, not from ImageNet: nothing is downloaded. Fails when too few of 300 other images come back right.

    python make.py --out artifacts
    python make.py --out artifacts-2 --seed 2      (a second version, for the update without downtime)
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_pytorch import EfficientNet
from pictures import CLASSES, SIZE, draw
from torch import nn

HERE = Path(__file__).resolve().parent
STEPS, BATCH = 80, 32
HELD_OUT_SEED, HELD_OUT = 1000, 300
REQUIRED = 0.95


class Classifier(nn.Module):
    """EfficientNet with its normalisation inside: takes bytes, so that no caller can scale them differently."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_name(
            "efficientnet-b0",
            num_classes=len(CLASSES),
            image_size=SIZE,
            drop_connect_rate=0.0,
            dropout_rate=0.0,
            # Its own default, 0.99, would need thousands of steps to learn the layers' means.
            batch_norm_momentum=0.9,
        )
        # The memory-saving activation is a Python function of its own, which tracing cannot follow.
        self.network.set_swish(memory_efficient=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 6) of images, uint8 (N, SIZE, SIZE, 3)."""
        return self.network((images.permute(0, 3, 1, 2).float() - 128.0) / 64.0)


def train(seed: int) -> Classifier:
    """A trained network."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = Classifier().train()
    images, labels = draw(STEPS * BATCH, seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=STEPS)
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), torch.from_numpy(labels[start : start + BATCH]))
        loss.backward()
        optimizer.step()
        schedule.step()
        if start // BATCH % 10 == 9:
            print(f"step {start // BATCH + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def trace(model: nn.Module) -> torch.jit.ScriptModule:
    """The network as TorchScript, for any number of images."""
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    with torch.inference_mode():
        return torch.jit.trace(model, example)


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that get their class."""
    with torch.inference_mode():
        found = [model(torch.from_numpy(part)).argmax(dim=1) for part in np.array_split(images, 10)]
    return (torch.cat(found).numpy() == labels).mean().item()


def main() -> None:
    """Trains, measures, lays out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    began = time.monotonic()
    script = trace(train(options.seed))
    # Of the script, not of the network: what is measured is what is served.
    share = accuracy(script, *draw(HELD_OUT, HELD_OUT_SEED))
    print(f"trained for {time.monotonic() - began:.0f} s, {100 * share:.1f} % of {HELD_OUT} other images right")
    if share < REQUIRED:
        sys.exit(f"expected at least {100 * REQUIRED:.0f} %")
    script.save(str(options.out / "efficientnet.pt"))
    for name in ("handler.py", "arrays.py", "index_to_name.json"):
        shutil.copyfile(HERE / name, options.out / name)


if __name__ == "__main__":
    main()
