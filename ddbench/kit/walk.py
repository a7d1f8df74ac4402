"""A walk through the spaces of a prior, from coarse to fine: latents optimised in each, the best of a space handed on to the next.

One leg is GLaD (or, with pixels for latents, a method on pixels), all of them H-GLaD. In each space plain SGD with momentum begins
anew. A judge scores candidates now and then, the start and the end of a space among them, and the lowest score is handed on, so
that it never rises within a space. Candidates are copies: the released code of H-GLaD keeps references to tensors that later steps
change in place, so that each of its candidates equals the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from ddbench.api.selector import Candidate
from ddbench.errors import BadRequest, SpecialValue
from ddbench.kit.latents import known_spaces, pull_back, rendered
from ddbench.kit.pixels import Pixels
from ddbench.kit.walk_state import Best, WalkState, digest

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context
    from ddbench.api.objective import Matching
    from ddbench.api.prior import Latents, LoadedPrior
    from ddbench.api.selector import Judge

CHECK_STEPS = 50
"""Losses are looked at that often: looking makes a GPU wait."""

CHECKPOINT_STEPS = 10

OTHER = "other"
"""In learning rates: stands for every tensor not named."""


@dataclass(frozen=True)
class Leg:
    """The part of a walk that is spent in one space."""

    space: str
    steps: int
    lr: Mapping[str, float]
    """By name of tensor (`w`, `f`, `x`); `other` stands for those not named."""

    def rates(self, z: Latents) -> dict[str, float]:
        """Return the learning rate of each free tensor.

        Raises:
            BadRequest: One has none.
        """
        missing = [name for name in z.free if name not in self.lr and OTHER not in self.lr]
        if missing:
            raise BadRequest(f"no learning rate for {missing[0]!r} in space {self.space!r}; there is one for {', '.join(self.lr)}")
        return {name: self.lr[name] if name in self.lr else self.lr[OTHER] for name in z.free}


@dataclass(frozen=True)
class WalkRecipe:
    """What decides a walk, beside the prior, the objective and the judge."""

    legs: tuple[Leg, ...]
    """In the order of the prior's spaces; without any the images are those of the start."""
    momentum: float = 0.5
    """Of SGD; 0.5 in the released code of DC, DM, MTT, GLaD and H-GLaD."""
    chunk: int = 10
    """Images decoded at once; 10 in the released code of GLaD. Moves no number."""
    select_every: int = 0
    """Steps between candidates; 0 hands on the last latents of each space and asks no judge."""
    keep_ends: bool = False
    """Keep the images handed on at the end of each space, as uint8."""
    advice: str = "a smaller learning rate, for example with -o lr=…"
    """What to try where the loss became NaN; completes `try …`."""

    @property
    def steps(self) -> int:
        """Of all legs together."""
        return sum(leg.steps for leg in self.legs)


@dataclass(frozen=True)
class Walked:
    """What a walk leaves."""

    latents: Latents
    images: Tensor
    """float32 (N, C, H, W), normalised by the dataset's mean and std (or in the objective's space, where it is another)."""
    losses: Tensor
    """float32 (steps,): of each step, over all legs."""
    scores: Tensor
    """float32 (candidates,): what the judge said of each."""
    scored_at: Tensor
    """int64 (candidates, 2): the leg of each, and the steps made in it before."""
    chosen: Tensor
    """int64 (legs,): the step whose latents were handed on."""
    ends: Tensor | None
    """uint8 (legs, N, C, H, W): the images handed on, where the recipe keeps them."""

    def extras(self) -> dict[str, Tensor]:
        """Return the curves of a walk under the names by which a distilled set keeps them."""
        kept = {"walk.loss": self.losses, "walk.score": self.scores, "walk.scored_at": self.scored_at, "walk.chosen": self.chosen}
        if not len(self.scores):
            kept = {"walk.loss": self.losses}
        return kept if self.ends is None else {**kept, "walk.ends": self.ends}


def walk(  # noqa: PLR0913 - each is a thing of its own kind
    ctx: Context, prior: LoadedPrior, start: Latents, matching: Matching, recipe: WalkRecipe, *, judge: Judge | None = None
) -> Walked:
    """Return where the walk ends; it goes on from where an interrupted one of the same start stopped.

    Steps are numbered over the whole walk for the objective, by leg for the judge. The end of a space is judged too: for its
    loss the objective is asked once more, and what it remembers put back.

    Args:
        ctx: Gives device, dataset, progress and checkpoints.
        prior: Decodes the latents and knows the spaces.
        start: Where the first leg begins; advanced where it stands in a coarser space. It is not changed.
        matching: The objective at work.
        recipe: The legs, and how they are walked.
        judge: Scores candidates; without one the last latents of each space are handed on.

    Raises:
        BadRequest: The prior lacks a space, legs are not from coarse to fine, a tensor has no learning rate, or the objective
            asks for another image space than a generator can give.
        SpecialValue: A loss, a gradient or a score became NaN or infinite.
    """
    known_spaces(prior, [leg.space for leg in recipe.legs])
    if prior.value_range is not None and matching.space != "normalised":
        raise BadRequest(f"the objective asks for images in space {matching.space!r}; a generator gives normalised ones only")
    walker = _Walker(ctx, prior, start, matching, recipe, judge if recipe.select_every else None)
    state = walker.resumed() or walker.begun()
    while state.leg < len(recipe.legs):
        walker.make_steps(state)
        walker.hand_on(state)
    return walker.walked(state)


@dataclass(frozen=True)
class _Walker:
    """What stays the same along a walk."""

    ctx: Context
    prior: LoadedPrior
    start: Latents
    matching: Matching
    recipe: WalkRecipe
    judge: Judge | None

    def begun(self) -> WalkState:
        """Return the state before the first step."""
        state = WalkState(self.start.snapshot(), {}, torch.zeros(self.recipe.steps, device=self.ctx.device))
        self._enter(state)
        return state

    def resumed(self) -> WalkState | None:
        """Return the state that an interrupted walk from the same start left."""
        kept = self.ctx.resumed()
        if kept is None or not kept["walk.start"].equal(self.mark):
            return None
        mine = {name.removeprefix("walk/"): tensor for name, tensor in kept.items() if name.startswith("walk/")}
        theirs = {name.removeprefix("matching/"): tensor for name, tensor in kept.items() if name.startswith("matching/")}
        self.matching.load({name: tensor.to(self.ctx.device) for name, tensor in theirs.items()})
        return WalkState.of_tensors(mine, [leg.space for leg in self.recipe.legs], self.start)

    def make_steps(self, state: WalkState) -> None:
        """Make what is left of the leg's steps."""
        leg = self.recipe.legs[state.leg]
        rates = leg.rates(state.z)
        while state.step < leg.steps:
            loss = self._step(state, rates)
            state.step += 1
            done = self._steps_before(state)
            self.ctx.progress(done, self.recipe.steps, loss=loss)
            if done % CHECK_STEPS == 0 or state.step == leg.steps:
                self._refuse_special_values(state)
            if done % CHECKPOINT_STEPS == 0:
                self.ctx.checkpoint(self._tensors(state))

    def hand_on(self, state: WalkState) -> None:
        """Choose what the leg leaves, and enter the next space with it."""
        if self.judge is not None and self.recipe.legs[state.leg].steps:
            images = self._rendered(state.z)
            self._score(state, images, self._loss(images, state))
        state.chosen.append(state.best.step if state.best else state.step)
        if state.best is not None:
            state.z = state.best.z
        if self.recipe.keep_ends:
            state.ends.append(self.pixels.to_uint8(self._rendered(state.z)).cpu())
        state.leg += 1
        self._enter(state)

    def walked(self, state: WalkState) -> Walked:
        """Return the result of a finished walk."""
        kept = state.tensors()
        ends = torch.stack(state.ends) if state.ends else None
        scores = kept["scores"].float()
        return Walked(state.z, self._rendered(state.z), state.losses, scores, kept["scored_at"], kept["chosen"], ends)

    @cached_property
    def pixels(self) -> Pixels:
        """The dataset's normalisation."""
        return Pixels.of_facts(self.ctx.train.facts, self.ctx.device)

    @cached_property
    def mark(self) -> Tensor:
        """Tells this walk from another job's."""
        return digest(self.start)

    def _enter(self, state: WalkState) -> None:
        """Stand at the start of the state's leg, its latents in that leg's space; past the last leg nothing changes."""
        if state.leg == len(self.recipe.legs):
            return
        space = self.recipe.legs[state.leg].space
        with torch.no_grad():
            state.enter(state.z if state.z.space == space else self.prior.advance(state.z, space).snapshot())

    def _step(self, state: WalkState, rates: Mapping[str, float]) -> Tensor:
        """Make one step of SGD with momentum and return its loss, on the device."""
        images = self._rendered(state.z)
        number = self._steps_before(state)
        loss, image_grad = self.matching.loss_and_grad(images, state.z.labels, number)
        if self.judge is not None and state.step % self.recipe.select_every == 0:
            self._score(state, images, loss)
        grads = pull_back(self.prior, state.z, image_grad, self.pixels, chunk=self.recipe.chunk)
        for name, tensor in state.z.free.items():
            velocity = state.velocity[name].mul_(self.recipe.momentum).add_(grads[name])
            tensor.sub_(velocity, alpha=rates[name])
        self.prior.regularise(state.z)
        # What regularise puts right must not hide an explosion: 0 · g is NaN wherever g is not finite, and 0 elsewhere.
        state.losses[number] = loss + sum(0 * grad.sum() for grad in grads.values())
        return loss

    def _score(self, state: WalkState, images: Tensor, loss: Tensor) -> None:
        """Let the judge score the present latents, and keep a copy of them if they are the best of the space."""
        score = self.judge.score(Candidate(images, state.z.labels, loss, state.step)) if self.judge else math.nan
        if not math.isfinite(score):
            raise SpecialValue(f"the selector's score became {score} {self._where(state)}; try {self.recipe.advice}")
        state.scored.append((state.leg, state.step, score))
        if state.best is None or score < state.best.score:
            state.best = Best(score, state.step, state.z.snapshot())

    def _loss(self, images: Tensor, state: WalkState) -> Tensor:
        """Return the loss at the end of a leg; the objective is left as it was."""
        before = {name: tensor.clone() for name, tensor in self.matching.state().items()}
        loss, _ = self.matching.loss_and_grad(images, state.z.labels, self._steps_before(state))
        self.matching.load(before)
        return loss

    def _rendered(self, z: Latents) -> Tensor:
        return rendered(self.prior, z, self.pixels, chunk=self.recipe.chunk)

    def _steps_before(self, state: WalkState) -> int:
        """Return the steps made so far, over all legs."""
        return sum(leg.steps for leg in self.recipe.legs[: state.leg]) + state.step

    def _tensors(self, state: WalkState) -> dict[str, Tensor]:
        """Return what a resume needs."""
        mine = {f"walk/{name}": tensor for name, tensor in state.tensors().items()}
        theirs = {f"matching/{name}": tensor for name, tensor in self.matching.state().items()}
        return {"walk.start": self.mark, **mine, **theirs}

    def _refuse_special_values(self, state: WalkState) -> None:
        """Raise SpecialValue where a loss so far, or a gradient behind it, was not finite."""
        made = state.losses[: self._steps_before(state)]
        bad = (~made.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise SpecialValue(
                f"the loss of {self._objective()} became NaN or infinite {self._where(state, bad[0])}; try {self.recipe.advice}"
            )

    def _where(self, state: WalkState, step: int | None = None) -> str:
        leg = self.recipe.legs[state.leg]
        rates = ", ".join(f"{name} {rate:g}" for name, rate in leg.rates(state.z).items())
        at = self._steps_before(state) if step is None else step
        return f"at step {at} of {self.recipe.steps}, in space {leg.space!r} (learning rates: {rates})"

    def _objective(self) -> str:
        """Return what the objective is called."""
        try:
            return f"objective {self.ctx.plugin('objective').value.name!r}"
        except BadRequest:
            return "the objective"
