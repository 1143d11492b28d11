"""Trains a small sentiment classifier and lays out the folder that is uploaded.

OUT/model is what ``save_pretrained`` writes: a RoBERTa as BERTweet is one, only 1000 times smaller, and its
own byte-level BPE tokenizer. Beside it lie the handler and its files. Nothing is downloaded. Fails when too few
of the held-out sentences come back right.

    python make.py --out artifacts
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import torch
from sentences import sentences
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizerFast

HERE = Path(__file__).resolve().parent
SEED = 4
SENTENCES, HELD_OUT = 4500, 300
STEPS, BATCH = 1000, 32
LEARNING_RATE = 1e-3
LABELS = {0: "NEG", 1: "NEU", 2: "POS"}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
LENGTH = 128
REQUIRED = 0.95


def tokenizer(texts: list[str], workplace: Path) -> RobertaTokenizerFast:
    """A tokenizer whose vocabulary comes from the texts, and from all bytes: it knows every text in some way."""
    trained = ByteLevelBPETokenizer(add_prefix_space=True)
    trained.train_from_iterator(texts, vocab_size=700, special_tokens=list(SPECIAL), show_progress=False)
    trained.save_model(str(workplace))
    files = {"vocab_file": str(workplace / "vocab.json"), "merges_file": str(workplace / "merges.txt")}
    return RobertaTokenizerFast(**files, model_max_length=LENGTH, add_prefix_space=True)


def network(words: RobertaTokenizerFast) -> RobertaForSequenceClassification:
    """An untrained classifier."""
    torch.manual_seed(SEED)
    config = RobertaConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        # So small a network forgets nothing by heart: dropout would only slow it down.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # RoBERTa counts positions from its padding's index on.
        max_position_embeddings=LENGTH + 2,
        type_vocab_size=1,
        num_labels=len(LABELS),
        id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
    )
    return RobertaForSequenceClassification(config)


def train(model: RobertaForSequenceClassification, words: RobertaTokenizerFast, known: list[tuple[str, int]]) -> None:
    """Trains in place."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=STEPS)
    model.train()
    order = torch.cat([torch.randperm(len(known)) for _ in range(-(-STEPS * BATCH // len(known)))])
    for step in range(STEPS):
        texts, labels = zip(*(known[at] for at in order[step * BATCH : (step + 1) * BATCH]), strict=True)
        batch = words(list(texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
        optimizer.zero_grad()
        loss = model(**batch, labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    model.eval()


def accuracy(
    model: RobertaForSequenceClassification, words: RobertaTokenizerFast, others: list[tuple[str, int]]
) -> float:
    """The share of sentences that get their label."""
    texts, labels = zip(*others, strict=True)
    batch = words(list(texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.inference_mode():
        found = model(**batch).logits.argmax(dim=1)
    return (found == torch.tensor(labels)).double().mean().item()


def main() -> None:
    """Trains, measures, lays out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts"))
    out = parser.parse_args().out
    (out / "model").mkdir(parents=True, exist_ok=True)

    torch.set_num_threads(1)
    began = time.monotonic()
    all_of_them = sentences(SENTENCES, SEED)
    known, others = all_of_them[:-HELD_OUT], all_of_them[-HELD_OUT:]
    words = tokenizer([text for text, _ in known], out / "model")
    model = network(words)
    train(model, words, known)
    share = accuracy(model, words, others)
    print(f"trained for {time.monotonic() - began:.0f} s, {100 * share:.1f} % of {HELD_OUT} held-out sentences right")
    if share < REQUIRED:
        sys.exit(f"expected at least {100 * REQUIRED:.0f} %")
    words.save_pretrained(out / "model")
    model.save_pretrained(out / "model")
    for path in (out / "model").iterdir():
        # safetensors writes its file for the owner alone; a server of another user could not read it.
        path.chmod(0o644)
    for name in ("handler.py", "texts.py", "index_to_name.json"):
        shutil.copyfile(HERE / name, out / name)


if __name__ == "__main__":
    main()
