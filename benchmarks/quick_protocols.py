"""Chooses rate and mixing of the `quick-*` protocols on a validation cut of digits' train split; the test split is not read.

python benchmarks/quick_protocols.py
"""

from __future__ import annotations

from itertools import product

import torch

from ddbench import ProtocolSpec, TrainedNetwork
from ddbench.api.protocol import Mix, TestView
from ddbench.data import HeldSplit, SubsetSplit, open_dataset, validation_cut
from ddbench.networks import build, resolve
from ddbench.plugins import Plugins
from ddbench.training.loop import RunSettings
from ddbench.training.predict import TestImages, logits, top1
from ddbench.training.students import Student, StudentData, StudentSeeds, train_student

RATES = (2e-3, 5e-3, 1e-2, 2e-2)
STUDENTS = ("convnet3", "timm/test_resnet")
DRAWS, IPC = 2, 10
RUN = RunSettings(torch.device("cpu"))


class Bench:
    """The cut, and what is trained and scored on it."""

    def __init__(self) -> None:
        plugins = Plugins(())
        self.families, self.protocols = plugins.all("network"), plugins.all("protocol")
        train = HeldSplit(open_dataset("digits", roots=[], sources=plugins.all("dataset")))
        self.fit, held_out = validation_cut(train, 0.3, seed=0)
        self.images, self.labels = train.images(held_out), train.labels()[held_out]
        self.mean, self.std = torch.tensor(train.facts.mean), torch.tensor(train.facts.std)
        self.teacher = self.trained_teacher()

    def network(self, name: str, seed: int) -> torch.nn.Module:
        """Return a fresh network."""
        facts = self.fit.facts
        return build(resolve(name, self.families, shape=facts.shape, num_classes=facts.num_classes), self.families, seed=seed)

    def trained_teacher(self) -> TrainedNetwork:
        """Return a teacher trained on what the cut leaves."""
        whole = StudentData(self.fit.images(torch.arange(len(self.fit))), self.fit.labels(), self.mean, self.std)
        recipe = self.protocols["quick-hard/1"].model_copy(update={"steps": 400})
        done = train_student(Student(self.network("convnet3-bn", 5), "teacher"), whole, recipe, seeds=StudentSeeds(0), run=RUN)
        return TrainedNetwork(done.network, self.fit.facts.classes, self.mean, self.std)

    def score(self, recipe: ProtocolSpec, student: str, draw: int) -> float:
        """Return the top1, on the cut, of a student trained on a draw of real images."""
        images, labels = subset(self.fit, draw)
        data = StudentData(images, labels, self.mean, self.std, teacher=self.teacher)
        done = train_student(Student(self.network(student, draw), student), data, recipe, seeds=StudentSeeds(draw), run=RUN)
        held_out = TestImages(lambda index: self.images[index], len(self.images), self.mean, self.std)
        return top1(logits(done.network, held_out, TestView(), RUN), self.labels)


def subset(split: SubsetSplit, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ten images per class and their labels."""
    generator = torch.Generator().manual_seed(seed)
    classes = [split.indices(label) for label in range(split.facts.num_classes)]
    chosen = torch.cat([index[torch.randperm(len(index), generator=generator)[:IPC]] for index in classes])
    return split.images(chosen), split.labels()[chosen]


def main() -> None:
    """Print top1 by recipe and student."""
    torch.set_num_threads(1)
    bench = Bench()
    mixes = {"quick-hard/1": (None,), "quick-soft/1": (None, Mix(name="mixup", alpha=0.8))}
    for name, rate in product(mixes, RATES):
        recipe = bench.protocols[name]
        for mix in mixes[name]:
            changed = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"lr": rate}), "mix": mix})
            scores = {student: [bench.score(changed, student, draw) for draw in range(DRAWS)] for student in STUDENTS}
            shown = ", ".join(f"{student} {100 * sum(values) / DRAWS:.1f}" for student, values in scores.items())
            print(f"{name} lr {rate:g} {'mixup .8' if mix else 'no mixing'}: {shown}", flush=True)


if __name__ == "__main__":
    main()
