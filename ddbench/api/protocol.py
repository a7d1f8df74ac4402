"""Protocols: frozen, versioned recipes for training and testing students, as data."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, ClassVar, Literal, Protocol

import pydantic
from pydantic import Field

from ddbench.errors import PluginFailed

LabelRegime = Literal["hard", "soft_once", "soft_epoch", "soft_online"]

DSA_GROUPS = "color_crop_cutout_flip_scale_rotate"
"""Every group of augmentations that DSA draws from."""


def known_groups(strategy: str) -> str:
    """Return the strategy if every group in it is one of DSA's.

    Raises:
        ValueError: One is not.
    """
    unknown = set(strategy.split("_")) - set(DSA_GROUPS.split("_"))
    if unknown:
        raise ValueError(f"unknown group of dsa: {', '.join(sorted(unknown))}; known: {DSA_GROUPS}")
    return strategy


DsaStrategy = Annotated[str, pydantic.AfterValidator(known_groups)]
"""Groups of DSA joined by `_`, for options."""


class _Part(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A part of a protocol; unknown keys are errors."""


class Optimiser(_Part):
    """SGD or AdamW over all of a student's parameters."""

    name: Literal["sgd", "adamw"]
    lr: float | Literal["set"] = Field(description="Learning rate; `set` takes the step size learned with the set.")
    lr_without_set: float | None = Field(None, description="Used under `lr = 'set'` where the set has none.")
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float
    decay: Literal["all", "matrices"] = Field(
        "all", description="What decays: every parameter, or `matrices`: those of two dimensions and more."
    )


class Schedule(_Part):
    """Learning rate over training, as a factor of `lr`; nothing about it is left to a library's default.

    Units are epochs or steps, counted from 0, E of them in all; `ddbench.training.schedules` holds the formulas.
    """

    name: Literal["constant", "step", "staircase", "cosine", "onecycle", "linear_cosine"]
    per: Literal["epoch", "step"] = Field("epoch", description="The unit: when the rate changes.")
    at: float | None = Field(
        None, ge=0, le=1, description="`step`: fraction of E; units 0 to floor(at * E) train at the full rate, later ones do not."
    )
    every: int | None = Field(None, gt=0, description="`staircase`: units between two drops.")
    factor: float = Field(0.1, gt=0, description="`step`, `staircase`: what the rate is multiplied with at a drop.")
    fresh_optimiser: bool = Field(
        default=False, description="`step`: the drop also forgets the momentum, as code that builds a new optimiser."
    )
    warmup: float = Field(
        0.0, ge=0, description="`cosine`: units of linear warm-up; `onecycle`, `linear_cosine`: fraction of training spent rising."
    )
    warmup_from: float = Field(0.0, ge=0, description="Factor at the start of the warm-up.")
    end: float = Field(0.0, ge=0, description="`cosine`, `onecycle`, `linear_cosine`: factor that the fall ends at.")

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> Schedule:
        if (self.name == "step") != (self.at is not None):
            raise ValueError("`at` is stated exactly where the schedule is `step`")
        if (self.name == "staircase") != (self.every is not None):
            raise ValueError("`every` is stated exactly where the schedule is `staircase`")
        if self.fresh_optimiser and self.name != "step":
            raise ValueError("`fresh_optimiser` belongs to the schedule `step`")
        return self


class Augment(_Part):
    """One step of augmentation; applied in the order listed, to every batch, each image with its own draw.

    `crop`, `flip`, `shift` and `rrc` act on pixels: what they pad is black, before normalisation. `dsa` acts on normalised
    images, as in DC-Bench: what it pads is zero, the mean colour.
    """

    name: Literal["crop", "flip", "shift", "rrc", "dsa"]
    pad: int = Field(4, ge=0, description="`crop`: black border before a random crop of the original size.")
    pixels: int = Field(1, ge=0, description="`shift`: the largest shift along each axis, filled with black.")
    scale: tuple[float, float] = Field((0.08, 1.0), description="`rrc`: area of the crop; its aspect ratio is 3/4 to 4/3.")
    strategy: DsaStrategy = Field(
        DSA_GROUPS, description="`dsa`: groups of which one is drawn for the whole batch; its parameters differ by image."
    )


class Mix(_Part):
    """Mixing of a batch's images. Labels are never mixed: a teacher answers the mixed image."""

    name: Literal["mixup", "cutmix"]
    alpha: float = Field(gt=0, description="Beta(alpha, alpha), one draw, one permutation and one box per batch.")


class Loss(_Part):
    """Cross entropy with indices or with probabilities, or KL(teacher || student) summed over classes, mean over the batch."""

    name: Literal["ce", "soft_ce", "kl"]
    temperature: float = Field(1.0, gt=0, description="`kl`: of teacher and student; `soft_ce`: of the teacher's one vector.")
    times_t2: bool = Field(default=False, description="Multiply the KL by the squared temperature.")


class TestView(_Part):
    """What is done to test images before they are normalised.

    Test images that already have the size of the crop went through the same view when they were prepared and are left as they are.
    """

    __test__: ClassVar[bool] = False  # pytest would take the name for a test class

    resize: int | None = Field(None, gt=0, description="Short side, bilinear, antialiased, not rounded; None leaves the image.")
    crop: int | None = Field(None, gt=0, description="Centre crop; None leaves the image.")


class Override(_Part):
    """What a protocol does differently for one student."""

    lr: float | None = None


class ProtocolSpec(_Part):
    """A recipe; its content hash is part of every record made with it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[0-9]+$")]
    title: str
    source: str = Field(description="Paper or code the recipe comes from.")
    label_regime: LabelRegime
    optimiser: Optimiser
    schedule: Schedule
    batch: int = Field(gt=0)
    epochs: int | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    augment: tuple[Augment, ...] = ()
    mix: Mix | None = None
    loss: Loss
    teacher_bn: Literal["running", "batch"] | None = Field(
        None, description="Statistics that the teacher's BN uses while it answers."
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="What is tested: the moving average of weights and buffers; update k, one an epoch, keeps min(ema, k/(k+1)).",
    )
    test: TestView = TestView()
    overrides: Mapping[str, Override] = Field(default_factory=dict, description="By pattern of the student's full name.")
    students: tuple[str, ...] = Field((), description="Patterns of the students admitted; empty admits all.")
    smoke: bool = Field(default=False, description="Shortened training: records can never enter a leaderboard.")

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> ProtocolSpec:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("exactly one of `epochs` and `steps` is needed")
        if self.needs_teacher != (self.teacher_bn is not None):
            raise ValueError("`teacher_bn` is stated exactly where a teacher answers")
        if {"hard": "ce", "soft_once": "soft_ce"}.get(self.label_regime, "kl") != self.loss.name:
            raise ValueError(f"loss {self.loss.name!r} does not fit the label regime {self.label_regime!r}")
        if self.label_regime in {"hard", "soft_once"} and self.mix is not None:
            raise ValueError("mixing needs a teacher that answers the mixed image")
        if self.steps is not None and self.schedule.per == "epoch" and self.schedule.name != "constant":
            raise ValueError("training counted in steps needs a schedule per step")
        if self.optimiser.lr == "set" and self.optimiser.lr_without_set is None:
            raise ValueError("`lr = 'set'` needs `lr_without_set` for sets that learned none")
        return self

    @property
    def needs_teacher(self) -> bool:
        return self.label_regime != "hard"

    @property
    def sha256(self) -> str:
        """Hash of everything that decides a number: the recipe without title and source.

        Values that equal their default are left out, so that a setting that later recipes bring leaves the hashes of
        earlier ones alone. A default must therefore never change.
        """
        content = self.model_dump(mode="json", exclude={"title", "source"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def admits(self, student: str) -> bool:
        """Return whether the protocol is defined for a student's full name."""
        return not self.students or any(fnmatch.fnmatch(student, pattern) for pattern in self.students)

    def lr_for(self, student: str) -> float | Literal["set"]:
        """Return the learning rate for a student's full name, overrides considered."""
        for pattern, override in self.overrides.items():
            if override.lr is not None and fnmatch.fnmatch(student, pattern):
                return override.lr
        return self.optimiser.lr

    def label_bytes(self, images: int, classes: int) -> int:
        """Return what stored labels would need: one float16 per epoch, image and class; 0 outside `soft_epoch`."""
        return 2 * training_epochs(self, images) * images * classes if self.label_regime == "soft_epoch" else 0

    def shortened(self, fraction: float) -> ProtocolSpec:
        """Return a smoke version with a fraction of the training; its records say so."""
        epochs = None if self.epochs is None else max(1, round(self.epochs * fraction))
        steps = None if self.steps is None else max(1, round(self.steps * fraction))
        return self.model_copy(update={"epochs": epochs, "steps": steps, "smoke": True})


def batch_sizes(images: int, batch: int) -> list[int]:
    """Return the sizes of an epoch's batches: the last partial batch is kept, and one of a single image joins the batch before.

    A batch of one image has no batch statistics on a 1x1 map, so that batch norm would refuse it; the rule holds for every
    student, so that step counts do not depend on the architecture.

    Raises:
        ValueError: There are no images.
    """
    if images < 1:
        raise ValueError("an epoch needs at least one image")
    sizes = [min(batch, images - start) for start in range(0, images, batch)]
    if batch > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


class Counted(Protocol):
    """What says how long training is: a protocol or a recipe."""

    @property
    def batch(self) -> int: ...
    @property
    def epochs(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...


def training_steps(plan: Counted, images: int) -> int:
    """Return how many optimiser steps training on `images` takes."""
    return plan.steps if plan.steps is not None else (plan.epochs or 0) * len(batch_sizes(images, plan.batch))


def training_epochs(plan: Counted, images: int) -> int:
    """Return how many epochs training on `images` begins; where it is counted in steps, the last may be cut short."""
    return plan.epochs if plan.epochs is not None else -(-(plan.steps or 0) // len(batch_sizes(images, plan.batch)))


def read_protocols(folder: Traversable) -> list[ProtocolSpec]:
    """Return the protocols of a folder's TOML files, by name.

    Raises:
        PluginFailed: A file is not TOML or not a whole protocol.
    """
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            try:
                found.append(ProtocolSpec.model_validate(tomllib.loads(entry.read_text("utf-8"))))
            except (tomllib.TOMLDecodeError, pydantic.ValidationError) as error:
                raise PluginFailed(f"protocol file {entry.name} is not a protocol: {error}") from error
    return found
