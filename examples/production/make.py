"""Trains the example's model and packs it: OUT/forecast.mar, which is all that has to be uploaded.

A small network learns, from three years of hourly demand and temperature, how far each of the next 24 hours will be
from the same hour of the last day. The last five weeks are held out; the two guesses that need no model (the same hour
of yesterday, the same hour of last week) are measured on them as well. Fails when the network is not at least a
quarter better than the better one of them.

    python make.py --out artifacts
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from features import FEATURES, HISTORY, HORIZON, demand, features, targets
from torch import nn
from town import rows, write

HERE = Path(__file__).resolve().parent
SEED = 3
EPOCHS = 12
BATCH = 128
HELD_OUT = 5 * 7 * 24
WEEK = 7 * 24
REQUIRED = 0.75


def network() -> nn.Sequential:
    """About 30,000 parameters; input (N, FEATURES), output (N, HORIZON)."""
    return nn.Sequential(nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, HORIZON))


def train(table: list[dict]) -> nn.Sequential:
    """A network trained on every third window of the rows."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    places = range(HISTORY, len(table) - HORIZON, 3)
    inputs = torch.tensor([features(table[at - HISTORY : at]) for at in places])
    outputs = torch.tensor([targets(table[at - HISTORY : at], table[at : at + HORIZON]) for at in places])
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.smooth_l1_loss(model(inputs[batch]), outputs[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def errors(model: nn.Module, table: list[dict], start: int) -> dict[str, float]:
    """Mean absolute errors in MW over every sixth hour from row ``start`` on, by who guessed."""
    sums = {"network": 0.0, "yesterday": 0.0, "last week": 0.0}
    places = range(start, len(table) - HORIZON + 1, 6)
    for at in places:
        history, future = table[at - HISTORY : at], [row["demand"] for row in table[at : at + HORIZON]]
        with torch.inference_mode():
            output = model(torch.tensor([features(history)]))[0].tolist()
        guesses = {
            "network": demand(history, output),
            "yesterday": [row["demand"] for row in table[at - HORIZON : at]],
            "last week": [row["demand"] for row in table[at - WEEK : at - WEEK + HORIZON]],
        }
        for name, guess in guesses.items():
            sums[name] += sum(abs(a - b) for a, b in zip(guess, future, strict=True)) / HORIZON
    return {name: total / len(places) for name, total in sums.items()}


def pack(weights: Path, out: Path) -> Path:
    """The archive, by torch-model-archiver."""
    command = ["torch-model-archiver", "--model-name", "forecast", "--version", "1.0"]
    command += ["--handler", "handler.py", "--serialized-file", str(weights), "--requirements-file", "requirements.txt"]
    command += ["--extra-files", "features.py,request_schema.json", "--export-path", str(out), "--force"]
    subprocess.run(command, cwd=HERE, check=True)
    return out / "forecast.mar"


def main() -> None:
    """Trains, measures, packs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    table = rows()
    known = len(table) - HELD_OUT
    # What a client sends: the held-out weeks, with the two days before them as the first history.
    write(table[known - HISTORY :], out / "heldout.csv")
    if (out / "heldout.csv").read_bytes() != (HERE / "heldout.csv").read_bytes():
        sys.exit("heldout.csv is not what training leaves out: the accuracy that the client reports would mean nothing")

    model = train(table[:known])
    found = errors(model, table, known)
    print("mean absolute error: " + ", ".join(f"{name} {value:.2f} MW" for name, value in found.items()))
    share = found["network"] / min(found["yesterday"], found["last week"])
    if share > REQUIRED:
        sys.exit(f"expected at most {REQUIRED} of the better guess's error, got {share:.2f}")

    with tempfile.TemporaryDirectory() as workplace:
        weights = Path(workplace) / "forecast.pt"
        torch.jit.script(model).save(str(weights))
        archive = pack(weights, out)
    print(f"{archive}\nsha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
