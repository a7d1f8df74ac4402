"""Chooses learning rates of a method on a validation cut of a dataset's train split; the test split is not read.

    python benchmarks/rates.py dc dsa --rates 0.01,0.1,1 --store DIR [--preset digits] [-o iterations=100] [--option lr]

The cut becomes a dataset of its own: seven tenths of train to distil from, the rest in place of the test split. Printed is the mean
top1 on it for each rate, over distill seeds and students; and where losses are kept, the first and the mean of the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

import ddbench
from ddbench.data import HeldSplit, open_dataset, validation_cut
from ddbench.data.writing import Arrays, Description, write_prepared
from ddbench.options import parse_assignments
from ddbench.plugins import Plugins

FRACTION = 0.3
LAST = 20
"""Steps whose mean loss is told."""


def write_cut(dataset: str, root: Path) -> str:
    """Write a cut of a dataset's train split below `root`, unless it is there, and return its name."""
    name = f"{dataset}-cut"
    if (root / name / "dataset.json").is_file():
        return name
    train = HeldSplit(open_dataset(dataset, roots=[], sources=Plugins(()).all("dataset")))
    fit, held_out = validation_cut(train, FRACTION, seed=0)
    splits = {
        "train": Arrays(fit.images(torch.arange(len(fit))).numpy(), fit.labels().numpy()),
        "test": Arrays(train.images(held_out).numpy(), train.labels()[held_out].numpy()),
    }
    about = Description(name, fit.facts.classes, notes=f"a cut of {dataset}'s train split")
    write_prepared(root / name, about, splits)
    return name


def measured(method: str, options: Mapping[str, Any], given: argparse.Namespace) -> tuple[float, str]:
    """Return the mean top1 on the cut, as a fraction, and how the loss went."""
    name = write_cut(given.dataset, given.store / "cuts")
    made = ddbench.run(
        method,
        store=given.store,
        data_roots=[given.store / "cuts"],
        dataset=name,
        protocol=given.protocol,
        students=given.students.split(","),
        ipc=given.ipc,
        distill_seeds=given.seeds,
        eval_seeds=1,
        threads=given.threads,
        preset=given.preset,
        options=dict(options),
    )
    mine = [record for record in made.records if record.cell.synthesizer == method]
    kept = load_file(given.store / "distilled" / mine[0].distilled_key / "data.safetensors")
    losses = kept.get("walk.loss", np.full(1, np.nan))
    return float(np.mean([record.metric("top1") for record in mine])), f"{losses[0]:.4g} to {losses[-LAST:].mean():.4g}"


def lines(given: argparse.Namespace) -> Iterator[str]:
    """Give a line for each method and rate."""
    for method in given.methods:
        for rate in given.rates.split(","):
            options = {name: float(rate) for name in given.option.split(",")} | parse_assignments(given.o)
            top1, losses = measured(method, options, given)
            yield f"{method:<8} {given.option} {rate:<8} top1 {100 * top1:5.1f}   loss {losses}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--rates", required=True, help="comma-separated")
    parser.add_argument("--option", default="lr", help="the options that take the rate, comma-separated")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--protocol", default="quick-hard/1")
    parser.add_argument("--students", default="convnet3,test_resnet")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--preset", help="such as the dataset's own, which a cut of it does not take by itself")
    parser.add_argument("-o", action="append", default=[], metavar="NAME=VALUE")
    for line in lines(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
