"""trajectory: images on which a network that starts where an expert stood ends where the expert stood some epochs later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import Augment, Context, DatasetFacts, ExpertOptions, Job, Matching, Need, Objective, Options, Work

from . import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

LR_LOW, LR_HIGH = 1e-6, 1.0
"""Where the learned step size is held: beyond lie the failures that users of the released code report (negative, exploding)."""

ALL_GROUPS = Augment(name="dsa").strategy

PASSES = 12.0
"""Forward passes' worth of one synthetic image in one inner step: gradient (3), gradient again (3), and its derivative (6)."""


class TrajectoryOptions(Options):
    """Options of `trajectory`; the defaults are those of the released code's README for CIFAR-100 with one image a class."""

    network: str = Field(default="convnet3", description="The network whose training is imitated.")
    syn_steps: int = Field(default=20, ge=1, le=1000, description="N: SGD steps on the synthetic images.")
    expert_epochs: int = Field(default=3, ge=1, le=1000, description="M: the expert's epochs that they are to stand for.")
    max_start: int = Field(default=20, ge=1, le=10_000, description="T+: matching starts at an expert's epoch 0 to T+ - 1.")
    lr_start: float = Field(default=0.01, ge=LR_LOW, le=LR_HIGH, description="Step size of the N steps at first; it is learned.")
    lr_lr: float = Field(
        default=1e-5, ge=0, description="Learning rate of that step size, by SGD with momentum 0.5; 0 keeps it fixed."
    )
    batch_syn: int = Field(default=0, ge=0, description="Synthetic images of a step; 0: all of them.")
    augment: Literal["dsa", "none"] = Field(
        default="dsa", description="What synthetic images go through at each step, and real ones while experts are trained."
    )
    strategy: fields.Strategy = ALL_GROUPS
    gradient: Literal["tesla", "exact"] = Field(
        default="tesla",
        description="`tesla` leaves out what early steps do to later ones; `exact` does not, and keeps the weights of N steps.",
    )
    zca: bool = Field(default=False, description="Whiten images (ZCA, eps 0.1): experts, distilled set and test images alike.")
    experts: int = Field(default=100, ge=1, le=10_000, description="Experts to imitate.")
    expert_lr: float = Field(default=0.01, gt=0, le=100, description="Learning rate of the experts.")
    expert_batch: int = Field(default=256, ge=1, le=100_000, description="Real images of an expert's step.")

    @property
    def epochs(self) -> int:
        """The expert's epochs that are ever looked at; SGD at a constant rate makes them the same however long it goes on."""
        return self.max_start - 1 + self.expert_epochs

    def of_experts(self) -> ExpertOptions:
        """Return how the experts are trained."""
        return ExpertOptions(
            count=self.experts,
            epochs=self.epochs,
            lr=self.expert_lr,
            batch=self.expert_batch,
            augment=self.augment,
            strategy=self.strategy,
            zca=self.zca,
        )


class Trajectory(Objective):
    """Dataset Distillation by Matching Training Trajectories (Cazenavette et al., CVPR 2022)."""

    name = "trajectory"
    version = 1  # bump when a change moves a number
    options = TrajectoryOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        """Return the experts: trained once, shared by every run that asks for the same."""
        chosen = cast("TrajectoryOptions", o)
        return {"experts": Need("experts", chosen.network, chosen.of_experts().model_dump(mode="json"))}

    def work(self, o: Options, facts: DatasetFacts, images: int) -> Work:
        """Return the passes of one step, second derivatives counted as three more passes each way."""
        chosen = cast("TrajectoryOptions", o)
        return Work(chosen.network, PASSES * chosen.syn_steps * min(chosen.batch_syn or images, images))

    def start(self, ctx: Context, o: Options, job: Job) -> Matching:
        """Return the objective at work.

        Raises:
            BadRequest: The experts are not what the options ask for.
        """
        from .imitation import Imitation  # torch enters here

        return Imitation.of(ctx, cast("TrajectoryOptions", o), job)
