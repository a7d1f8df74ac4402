from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddbench import Latents, Part, Precision
from ddbench.context import StageContext
from ddbench.errors import BadRequest, SpecialValue
from ddbench.kit import IdentityPrior, Leg, Pixels, WalkRecipe, rendered, walk
from ddbench.options import NoOptions
from toy_walks import Nearness, ToyMatching, ToyObjective, ToyPrior, same

SHAPE = (3, 8, 8)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
RATES = {"w": 0.5, "f": 2.0, "x": 1.0}
LEGS = (Leg("w+", 6, RATES), Leg("f1", 5, RATES), Leg("f2", 7, RATES))
RECIPE = WalkRecipe(LEGS, chunk=3)


class Killed(Exception):
    """Stands for a kill."""


@dataclass
class Watched(StageContext):
    """A context that may be killed after a checkpoint, and then keeps every one of them."""

    kill_after: int | None = None
    kept: int = 0
    last: dict | None = None
    told: list | None = None

    def progress(self, step, total, **scalars):
        self.told = [*(self.told or []), (step, total, float(scalars["loss"]))]

    def checkpoint(self, state):
        if self.kill_after is None:
            return
        self.last = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.kept += 1
        if self.kept == self.kill_after:
            raise Killed

    def resumed(self):
        return self.last


@pytest.fixture
def ctx(train):
    return Watched(train, torch.device("cpu"), torch.Generator(), Precision(), {})


@pytest.fixture
def often(monkeypatch):
    """Checkpoints after every step."""
    monkeypatch.setattr(sys.modules["ddbench.kit.walk"], "CHECKPOINT_STEPS", 1)


def begun(prior, space="w+"):
    return prior.init_latents(LABELS, space, how="sample", real=None, generator=torch.Generator().manual_seed(3))


def matching(**changes):
    return ToyMatching(4, SHAPE, **changes)


def a_judge():
    return Nearness(torch.full(SHAPE, 0.5))


def plain_walk(facts, prior, z, objective, legs, *, momentum=0.5):
    """Walk the plain way: torch's SGD, one graph from latents to images, no chunks, no judge."""
    pixels = Pixels.of_facts(facts, torch.device("cpu"))
    done = 0
    for leg in legs:
        z = z if z.space == leg.space else prior.advance(z, leg.space)
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in z.tensors.items()}
        z = replace(z, tensors=leaves)
        sgd = torch.optim.SGD([{"params": [leaf], "lr": leg.lr[name]} for name, leaf in leaves.items()], momentum=momentum)
        for _ in range(leg.steps):
            images = ((prior.decode(z) + 1) / 2 - pixels.mean) / pixels.std
            _, image_grad = objective.loss_and_grad(images.detach(), z.labels, done)
            sgd.zero_grad()
            images.backward(image_grad)
            sgd.step()
            with torch.no_grad():
                prior.regularise(z)
            done += 1
        z = z.snapshot()
    return z


def test_a_walk_is_sgd_begun_anew_in_each_space_on_latents_carried_over(ctx):
    prior = ToyPrior(dtype=torch.float64)
    start = begun(prior)
    walked = walk(ctx, prior, start, matching(), RECIPE)
    expected = plain_walk(ctx.train.facts, prior, start, matching(), LEGS)
    assert walked.latents.space == "f2"
    for name, tensor in expected.tensors.items():
        assert torch.allclose(walked.latents.tensors[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 8])
def test_the_chunk_moves_nothing(ctx, chunk):
    prior = ToyPrior(dtype=torch.float64)
    whole = walk(ctx, prior, begun(prior), matching(), RECIPE)
    other = walk(ctx, prior, begun(prior), matching(), replace(RECIPE, chunk=chunk))
    assert torch.allclose(whole.images, other.images, rtol=0, atol=1e-10)


def test_images_are_those_of_the_latents_and_the_start_is_not_changed(ctx):
    prior = ToyPrior()
    start = begun(prior)
    before = start.snapshot()
    walked = walk(ctx, prior, start, matching(), RECIPE)
    pixels = Pixels.of_facts(ctx.train.facts, torch.device("cpu"))
    assert same(start, before)
    assert walked.images.equal(rendered(prior, walked.latents, pixels, chunk=3))
    assert walked.images.dtype == torch.float32


def test_the_loss_falls(ctx):
    losses = walk(ctx, ToyPrior(), begun(ToyPrior()), matching(), replace(RECIPE, legs=(Leg("f1", 60, RATES),))).losses
    assert losses[-5:].mean() < 0.9 * losses[:5].mean()


def test_steps_are_counted_over_the_whole_walk_and_progress_tells_them(ctx):
    objective = matching()
    walk(ctx, ToyPrior(), begun(ToyPrior()), objective, RECIPE)
    assert objective.asked == list(range(18))
    assert [(step, total) for step, total, _ in ctx.told] == [(step, 18) for step in range(1, 19)]


def test_curves_hold_each_steps_loss(ctx):
    walked = walk(ctx, ToyPrior(), begun(ToyPrior()), matching(), RECIPE)
    assert walked.losses.tolist() == [loss for _, _, loss in ctx.told]
    assert walked.chosen.tolist() == [6, 5, 7]
    assert set(walked.extras()) == {"walk.loss"}


def test_without_legs_the_images_are_those_of_the_start(ctx):
    prior = ToyPrior()
    walked = walk(ctx, prior, begun(prior), matching(), WalkRecipe(()))
    assert same(walked.latents, begun(prior))
    assert not len(walked.losses)


def test_legs_of_no_steps_are_passed_through(ctx):
    prior = ToyPrior(dtype=torch.float64)
    objective = matching()
    walked = walk(
        ctx, prior, begun(prior), objective, WalkRecipe((Leg("w+", 0, RATES), Leg("f2", 0, RATES)), select_every=2), judge=a_judge()
    )
    assert walked.latents.space == "f2"
    assert objective.asked == []
    assert torch.allclose(prior.decode(walked.latents), prior.decode(begun(prior)), atol=1e-12)


def test_a_start_in_a_coarser_space_is_carried_to_the_first_leg(ctx):
    prior = ToyPrior()
    recipe = WalkRecipe((Leg("f2", 4, RATES),))
    carried = walk(ctx, prior, begun(prior, "w+"), matching(), recipe)
    assert same(carried.latents, walk(ctx, prior, begun(prior, "f2"), matching(), recipe).latents)


def test_frozen_tensors_stay(ctx):
    prior = ToyPrior()
    start = replace(begun(prior, "f1"), frozen=frozenset({"w"}))
    walked = walk(ctx, prior, start, matching(), replace(RECIPE, legs=LEGS[1:]))
    assert walked.latents.tensors["w"].equal(start.tensors["w"])
    assert not walked.latents.tensors["f"].equal(prior.advance(start, "f2").tensors["f"])


def test_pixels_are_walked_like_any_method_on_pixels(ctx):
    prior = IdentityPrior(SHAPE)
    start = prior.init_latents(LABELS, "pixel", how="noise", real=None, generator=torch.Generator().manual_seed(1))
    walked = walk(ctx, prior, start, matching(), WalkRecipe((Leg("pixel", 5, {"x": 3.0}),)))
    x = start.tensors["x"].clone().requires_grad_()
    sgd, objective = torch.optim.SGD([x], lr=3.0, momentum=0.5), matching()
    for step in range(5):
        _, x.grad = objective.loss_and_grad(x, LABELS, step)
        sgd.step()
    assert torch.allclose(walked.images, x.detach(), rtol=0, atol=1e-6)


class TestSelection:
    recipe = replace(RECIPE, select_every=2, keep_ends=True)

    def walked(self, ctx, judge=None, **changes):
        return walk(ctx, ToyPrior(), begun(ToyPrior()), matching(), replace(self.recipe, **changes), judge=judge or a_judge())

    def test_candidates_are_the_start_every_second_step_and_the_end_of_each_space(self, ctx):
        at = self.walked(ctx).scored_at.tolist()
        assert at == [[0, 0], [0, 2], [0, 4], [0, 6], [1, 0], [1, 2], [1, 4], [1, 5], [2, 0], [2, 2], [2, 4], [2, 6], [2, 7]]

    def test_the_lowest_score_of_a_space_is_handed_on_and_never_rises_within_it(self, ctx):
        walked = self.walked(ctx)
        for leg, chosen in enumerate(walked.chosen.tolist()):
            of_leg = [(float(s), step) for s, (at, step) in zip(walked.scores, walked.scored_at.tolist(), strict=True) if at == leg]
            assert min(of_leg) == ({step: s for s, step in of_leg}[chosen], chosen)
            assert min(of_leg)[0] <= next(s for s, step in of_leg if step == 0)

    def test_candidates_are_copies_so_what_is_handed_on_is_what_was_scored(self, ctx):
        judge = a_judge()
        walked = self.walked(ctx, judge)
        last = [
            (score, images)
            for score, (leg, _), (_, _, images) in zip(walked.scores, walked.scored_at, judge.seen, strict=True)
            if leg == 2
        ]
        assert walked.images.equal(min(last, key=lambda pair: float(pair[0]))[1])

    def test_an_earlier_candidate_wins_where_later_steps_are_worse(self, ctx):
        start = rendered(ToyPrior(), begun(ToyPrior()), Pixels.of_facts(ctx.train.facts, torch.device("cpu")), chunk=8)
        walked = self.walked(ctx, Nearness(start), legs=LEGS[:1])
        assert walked.chosen.tolist() == [0]
        assert same(walked.latents, begun(ToyPrior()))

    def test_the_next_space_begins_at_the_score_that_was_handed_on(self, ctx):
        walked = self.walked(ctx)
        places = walked.scored_at.tolist()
        for leg in (1, 2):
            handed_on = min(float(s) for s, (at, _) in zip(walked.scores, places, strict=True) if at == leg - 1)
            assert float(walked.scores[places.index([leg, 0])]) == pytest.approx(handed_on, rel=1e-5)

    def test_the_first_of_equal_scores_wins(self, ctx):
        class Indifferent:
            def score(self, candidate):
                return 1.0

        assert self.walked(ctx, Indifferent()).chosen.tolist() == [0, 0, 0]

    def test_each_candidate_comes_with_the_loss_at_its_images(self, ctx):
        judge, objective = a_judge(), matching()
        legs = LEGS[:1]
        walk(ctx, ToyPrior(), begun(ToyPrior()), objective, replace(self.recipe, legs=legs), judge=judge)
        other = matching()
        for step, (at, loss, images) in zip((0, 2, 4, 6), judge.seen, strict=True):
            assert at == step
            if step == 0:  # later ones depend on what the objective remembers
                assert float(other.loss_and_grad(images, LABELS, step)[0]) == pytest.approx(loss)
        assert objective.asked == [0, 1, 2, 3, 4, 5, 6]

    def test_asking_for_the_loss_at_the_end_leaves_the_objective_as_it_was(self, ctx):
        class Last:
            def score(self, candidate):
                return -float(candidate.step)

        judged = self.walked(ctx, Last())
        assert same(judged.latents, walk(ctx, ToyPrior(), begun(ToyPrior()), matching(), RECIPE).latents)

    def test_without_select_every_no_judge_is_asked(self, ctx):
        judge = a_judge()
        walked = self.walked(ctx, judge, select_every=0)
        assert judge.seen == []
        assert walked.chosen.tolist() == [6, 5, 7]

    def test_the_images_handed_on_are_kept_as_pixels(self, ctx):
        walked = self.walked(ctx)
        pixels = Pixels.of_facts(ctx.train.facts, torch.device("cpu"))
        assert walked.ends.shape == (3, len(LABELS), *SHAPE)
        assert walked.ends[2].equal(pixels.to_uint8(walked.images))
        assert set(walked.extras()) == {"walk.loss", "walk.score", "walk.scored_at", "walk.chosen", "walk.ends"}

    @pytest.mark.parametrize("score", [math.nan, math.inf])
    def test_a_score_that_is_no_number_stops_the_job(self, ctx, score):
        class Broken:
            def score(self, candidate):
                return score

        with pytest.raises(SpecialValue, match=r"selector's score .* at step 0 of 18, in space 'w\+'"):
            self.walked(ctx, Broken())


@given(steps=st.lists(st.integers(0, 4), min_size=1, max_size=3), every=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_handed_on_score_never_rises_along_an_exact_walk(steps, every, seed, train):
    prior = ToyPrior(dtype=torch.float64)
    legs = tuple(Leg(space, count, RATES) for space, count in zip(prior.spaces, steps, strict=False))
    ctx = Watched(train, torch.device("cpu"), torch.Generator(), Precision(), {})
    walked = walk(ctx, prior, begun(prior), matching(seed=seed), WalkRecipe(legs, select_every=every), judge=a_judge())
    scores = {leg: [] for leg in range(len(steps))}
    for score, (leg, _) in zip(walked.scores.tolist(), walked.scored_at.tolist(), strict=True):
        scores[leg].append(score)
    best = [min(of_leg) for of_leg in scores.values() if of_leg]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(best))


class TestResume:
    recipe = replace(RECIPE, select_every=2, keep_ends=True)

    def run(self, ctx, prior=None, seed=0):
        prior = prior or ToyPrior()
        return walk(ctx, prior, begun(prior), matching(seed=seed), self.recipe, judge=a_judge())

    @pytest.mark.parametrize("killed_after", [1, 2, 5, 6, 7, 11, 12, 17, 18])
    def test_a_killed_walk_ends_with_the_same_bytes(self, ctx, often, killed_after):
        whole = self.run(replace(ctx))
        ctx.kill_after = killed_after
        with pytest.raises(Killed):
            self.run(ctx)
        resumed = self.run(ctx)
        assert same(resumed.latents, whole.latents)
        for name, tensor in whole.extras().items():
            assert resumed.extras()[name].equal(tensor), name

    def test_steps_before_the_kill_are_not_made_again(self, ctx, often):
        ctx.kill_after = 8
        with pytest.raises(Killed):
            self.run(ctx)
        objective = matching()
        walk(ctx, ToyPrior(), begun(ToyPrior()), objective, self.recipe, judge=a_judge())
        assert objective.asked[0] == 8

    def test_what_another_job_left_is_not_resumed(self, ctx, often):
        ctx.kill_after = 8
        with pytest.raises(Killed):
            self.run(ctx)
        objective = matching()
        elsewhere = ToyPrior().init_latents(LABELS, "w+", how="noise", real=None, generator=torch.Generator().manual_seed(4))
        walk(ctx, ToyPrior(), elsewhere, objective, self.recipe, judge=a_judge())
        assert objective.asked[0] == 0

    def test_frozen_tensors_are_frozen_after_a_resume(self, ctx, often):
        start = replace(begun(ToyPrior(), "f1"), frozen=frozenset({"w"}))
        ctx.kill_after = 3
        for _ in range(2):
            try:
                walked = walk(ctx, ToyPrior(), start, matching(), replace(self.recipe, legs=LEGS[1:]))
            except Killed:
                continue
        assert walked.latents.frozen == {"w"}
        assert walked.latents.tensors["w"].equal(start.tensors["w"])

    def test_a_checkpoint_survives_the_harness_own_file(self, context, often, monkeypatch):
        monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", -1.0)
        whole = self.run(context)
        resumed = self.run(context)  # from the checkpoint of the last step
        assert same(whole.latents, resumed.latents)
        assert whole.scores.equal(resumed.scores)


class TestBadInput:
    def walked(self, ctx, *legs, objective=None, prior=None, **changes):
        return walk(ctx, prior or ToyPrior(), begun(ToyPrior()), objective or matching(), WalkRecipe(legs, **changes))

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_a_loss_that_is_no_number_stops_with_step_space_and_advice(self, ctx, bad):
        objective = matching(spoil={8: bad})
        with pytest.raises(SpecialValue, match=r"at step 8 of 18, in space 'f1' \(learning rates: w 0.5, f 2\); try less"):
            self.walked(ctx, *LEGS, objective=objective, advice="less")

    def test_the_objective_is_named(self, ctx):
        ctx.parts = {"objective": Part(ToyObjective(), NoOptions())}
        with pytest.raises(SpecialValue, match="objective 'toy'"):
            self.walked(ctx, *LEGS, objective=matching(spoil={0: math.nan}))

    def test_an_exploding_gradient_is_told_even_where_the_prior_puts_latents_right(self, ctx):
        class Exploding(ToyMatching):
            def loss_and_grad(self, images, labels, step):
                loss, grad = super().loss_and_grad(images, labels, step)
                return loss, grad * (math.inf if step == 2 else 1.0)

        with pytest.raises(SpecialValue, match="at step 2 of 6"):
            self.walked(ctx, LEGS[0], objective=Exploding(4, SHAPE))

    def test_losses_are_looked_at_every_fiftieth_step(self, ctx):
        objective = matching(spoil={3: math.nan})
        with pytest.raises(SpecialValue):
            self.walked(ctx, Leg("w+", 400, RATES), objective=objective)
        assert objective.asked[-1] == 49

    def test_a_tensor_without_a_learning_rate_is_named(self, ctx):
        with pytest.raises(BadRequest, match="no learning rate for 'f' in space 'f1'"):
            self.walked(ctx, Leg("f1", 2, {"w": 1.0}))

    def test_other_stands_for_tensors_not_named(self, ctx):
        named = self.walked(ctx, Leg("f1", 3, {"w": 0.5, "f": 2.0}))
        assert same(self.walked(ctx, Leg("f1", 3, {"w": 0.5, "other": 2.0})).latents, named.latents)

    def test_unknown_spaces_and_walks_backwards_are_refused_before_any_step(self, ctx):
        objective = matching()
        with pytest.raises(BadRequest, match="no space 'f7'"):
            self.walked(ctx, LEGS[0], Leg("f7", 1, RATES), objective=objective)
        with pytest.raises(BadRequest, match="coarse to fine"):
            self.walked(ctx, LEGS[1], LEGS[0], objective=objective)
        assert objective.asked == []

    def test_a_generator_is_not_matched_in_a_whitened_space(self, ctx):
        with pytest.raises(BadRequest, match="'zca'"):
            self.walked(ctx, LEGS[0], objective=matching(space="zca"))

    def test_pixels_may_be_matched_in_a_whitened_space(self, ctx):
        start = Latents("pixel", {"x": torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(2))}, LABELS)
        recipe = WalkRecipe((Leg("pixel", 1, {"x": 1.0}),))
        walked = walk(ctx, IdentityPrior(SHAPE), start, matching(space="zca"), recipe)
        assert walked.images.shape == (8, *SHAPE)
