"""Trains both sizes of the model and lays out the folder that is uploaded.

OUT/colours.py the functions, OUT/palette.tar.gz the package they import, OUT/small.pt and OUT/large.pt the weights.
What people call a colour is a rule here (hue, lightness, saturation), which the networks have to find by themselves
from 40,000 random colours. Fails when one of them is right less often, on 10,000 others, than it should be.

    python make.py --out artifacts
"""

from __future__ import annotations

import argparse
import colorsys
import gzip
import random
import shutil
import sys
import tarfile
from pathlib import Path

import torch
from colours import NAMES, make
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 5
TRAINED_ON, HELD_OUT = 40_000, 10_000
BATCH = 256
EPOCHS = {"small": 25, "large": 25}
REQUIRED = {"small": 0.92, "large": 0.97}


def name_of(red: int, green: int, blue: int) -> str:
    """The rule: what the networks learn."""
    hue, lightness, saturation = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    if lightness < 0.10:
        return "black"
    if lightness > 0.93:
        return "white"
    if saturation < 0.15:
        return "grey"
    degrees = hue * 360
    if degrees < 15 or degrees >= 345:
        return "pink" if lightness > 0.7 else "red"
    if degrees < 45:
        return "brown" if lightness < 0.38 else "orange"
    for end, name in ((70, "yellow"), (170, "green"), (255, "blue"), (295, "purple")):
        if degrees < end:
            return name
    return "pink"


def colours(count: int, chance: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Random colours (count, 3) of 0..1 and their labels (count,)."""
    values = [tuple(chance.randrange(256) for _ in range(3)) for _ in range(count)]
    labels = [NAMES.index(name_of(*value)) for value in values]
    return torch.tensor(values, dtype=torch.float32) / 255, torch.tensor(labels)


def train(size: str, inputs: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """A trained network."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = make(size)
    steps = EPOCHS[size] * -(-len(inputs) // BATCH)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-2, total_steps=steps)
    for _ in range(EPOCHS[size]):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def pack(folder: Path, target: Path) -> None:
    """A tar.gz of the package, the same bytes for the same files."""
    with gzip.GzipFile(target, "wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.rglob("*.py")):
            member = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)


def main() -> None:
    """Trains, measures, lays out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    chance = random.Random(SEED)  # noqa: S311 - data, not secrets
    inputs, labels = colours(TRAINED_ON, chance)
    other_inputs, other_labels = colours(HELD_OUT, chance)
    for size, required in REQUIRED.items():
        model = train(size, inputs, labels)
        with torch.inference_mode():
            share = (model(other_inputs).argmax(dim=1) == other_labels).double().mean().item()
        print(f"{size}: {sum(each.numel() for each in model.parameters())} parameters, {100 * share:.1f} % right")
        if share < required:
            sys.exit(f"expected at least {100 * required:.0f} %")
        torch.save(model.state_dict(), out / f"{size}.pt")
    pack(HERE / "palette", out / "palette.tar.gz")
    shutil.copyfile(HERE / "colours.py", out / "colours.py")


if __name__ == "__main__":
    main()
