"""The kit passes what keeps the contracts, and each contract that is broken fails its own test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from ddbench.testing import Bench, ObjectiveConformance, PriorConformance, SelectorConformance
from ddbench.testing.guards import every_option_has_help, nothing_is_touched, slope_error

if TYPE_CHECKING:
    from ddbench import Candidate
    from ddbench.context import StageContext


def contract(kind: type, test: str, attribute: str, thing: Any, tmp_path, *more):
    """Run one inherited test for a thing."""
    own = type("TestIt", (kind,), {attribute: thing})()
    key = {"objective": "parts", "selector": "parts"}.get(attribute, "priors")
    bench = Bench(tmp_path, parts={attribute: [thing]}) if key == "parts" else Bench(tmp_path, priors=[thing])
    getattr(own, test)(bench, *more)


def broken(base: Any, **members: Any) -> Any:
    """Return a subclass's instance with some members replaced."""
    return type("Broken", (base,), members)()


# --- objectives


def objective(tutorial, **members):
    """Return `means`, its matching changed."""
    matching = type("BrokenMatching", (tutorial.MeansMatching,), members)
    return broken(tutorial.Means, start=lambda self, ctx, o, job: matching(ctx, o, job))


@pytest.mark.parametrize(
    "test",
    [
        "test_loss_and_gradient_are_finite_float32_and_carry_no_graph",
        "test_the_same_job_and_step_give_the_same_answer",
        "test_the_gradient_is_the_slope_of_the_loss",
        "test_a_step_can_be_taken_back",
    ],
)
def test_a_sound_objective_passes(tutorial, tmp_path, test):
    contract(ObjectiveConformance, test, "objective", tutorial.Means(), tmp_path)


def test_a_gradient_of_the_wrong_size_is_found(tutorial, tmp_path):
    def halved(self, images, labels, step):
        loss, gradient = tutorial.MeansMatching.loss_and_grad(self, images, labels, step)
        return loss, gradient / 2

    with pytest.raises(AssertionError):
        contract(
            ObjectiveConformance,
            "test_the_gradient_is_the_slope_of_the_loss",
            "objective",
            objective(tutorial, loss_and_grad=halved),
            tmp_path,
        )


def test_a_loss_with_a_graph_is_found(tutorial, tmp_path):
    def graphed(self, images, labels, step):
        loss, gradient = tutorial.MeansMatching.loss_and_grad(self, images, labels, step)
        return loss.requires_grad_(), gradient

    with pytest.raises(AssertionError):
        contract(
            ObjectiveConformance,
            "test_loss_and_gradient_are_finite_float32_and_carry_no_graph",
            "objective",
            objective(tutorial, loss_and_grad=graphed),
            tmp_path,
        )


def test_draws_from_the_global_generator_are_found(tutorial, tmp_path):
    def drawn(self, images, labels, step):
        loss, gradient = tutorial.MeansMatching.loss_and_grad(self, images, labels, step)
        return loss, gradient + torch.rand(())

    for test in (
        "test_the_same_job_and_step_give_the_same_answer",
        "test_images_teacher_train_split_and_everything_global_are_left_as_they_were",
    ):
        with pytest.raises(AssertionError):
            contract(ObjectiveConformance, test, "objective", objective(tutorial, loss_and_grad=drawn), tmp_path)


def test_memory_that_the_state_does_not_tell_is_found(tutorial, tmp_path):
    def remembering(self, images, labels, step):
        self.calls = getattr(self, "calls", 0) + 1
        loss, gradient = tutorial.MeansMatching.loss_and_grad(self, images, labels, step)
        return loss * self.calls, gradient * self.calls

    one = objective(tutorial, loss_and_grad=remembering)
    with pytest.raises(AssertionError):
        contract(ObjectiveConformance, "test_a_resume_from_its_state_goes_on_with_the_same_answers", "objective", one, tmp_path, 1)
    with pytest.raises(AssertionError):
        contract(ObjectiveConformance, "test_a_step_can_be_taken_back", "objective", one, tmp_path)


def test_images_changed_in_place_are_found(tutorial, tmp_path):
    def moving(self, images, labels, step):
        loss, gradient = tutorial.MeansMatching.loss_and_grad(self, images, labels, step)
        images.sub_(gradient)
        return loss, gradient

    with pytest.raises(AssertionError):
        contract(
            ObjectiveConformance,
            "test_images_teacher_train_split_and_everything_global_are_left_as_they_were",
            "objective",
            objective(tutorial, loss_and_grad=moving),
            tmp_path,
        )


# --- priors


def prior(tutorial, **members):
    """Return `eigen`, what it loads changed."""
    loaded = type("BrokenLoaded", (tutorial.LoadedEigen,), members)
    return broken(tutorial.Eigen, load=lambda self, weights, o, facts: loaded(weights, facts.shape))


def per_batch(self, z):
    """Decode with something of the whole batch in every row."""
    images = z.tensors["x"] if z.space == "pixel" else (z.tensors["w"] @ self.components).view(-1, *self.shape)
    return images - images.mean(0)


def in_place_advance(self, z, to):
    """Keep the very tensor that the coarse space decodes."""
    if z.space == "w":
        self.kept = self.decode(z).detach()
    images = self.kept + 0.01
    return type(z)("pixel", {"x": images}, z.labels)


def nothing(self, z):
    """Regularise nothing."""


def doubling(self, z):
    """Regularise differently each time."""
    for tensor in z.free.values():
        tensor.nan_to_num_(0.0).clamp_(-10, 10).mul_(2)


@pytest.mark.parametrize(
    ("test", "members"),
    [
        ("test_each_row_is_decoded_by_itself_and_always_alike", {"decode": per_batch}),
        ("test_a_finer_space_begins_with_the_same_images_in_fresh_tensors", {"advance": in_place_advance}),
        ("test_regularising_puts_nan_and_infinity_right", {"regularise": nothing}),
        ("test_regularising_works_in_place_and_twice_is_once", {"regularise": doubling}),
        ("test_its_spaces_have_different_names_and_each_can_be_begun_in", {"spaces": ("w",)}),
    ],
)
def test_a_broken_prior_fails_the_test_of_its_contract(tutorial, tmp_path, test, members):
    contract(PriorConformance, test, "prior", tutorial.Eigen(), tmp_path)
    with pytest.raises(AssertionError):
        contract(PriorConformance, test, "prior", prior(tutorial, **members), tmp_path)


def test_a_fit_that_draws_globally_is_found(tutorial, tmp_path):
    def fit(self, ctx, o):
        weights, card = tutorial.Eigen.fit(self, ctx, o)
        return {**weights, "centre": weights["centre"] + torch.randn(())}, card

    test = "test_fitting_gives_the_same_bytes_again_and_finite_weights"
    with pytest.raises(AssertionError):
        contract(PriorConformance, test, "prior", broken(tutorial.Eigen, fit=fit), tmp_path)


def test_a_resume_that_forgets_is_found_and_one_that_goes_on_passes(tutorial, tmp_path):
    def fit(self, ctx, o):
        kept = ctx.resumed()
        total, first = (torch.zeros(1), 0) if kept is None else (kept["total"], int(kept["step"]) + self.forgets)
        for step in range(first, 4):
            total = total + step
            ctx.checkpoint({"total": total, "step": torch.tensor(step + 1)})
        return {"total": total}, {}

    test = "test_a_fit_killed_after_a_checkpoint_ends_with_the_same_bytes"
    contract(PriorConformance, test, "prior", broken(tutorial.Eigen, fit=fit, forgets=0), tmp_path, 2)
    with pytest.raises(AssertionError):
        contract(PriorConformance, test, "prior", broken(tutorial.Eigen, fit=fit, forgets=1), tmp_path, 2)


# --- selectors


def test_a_selector_that_prefers_the_worse_is_found(tutorial, tmp_path):
    class Backwards(tutorial.NearJudge):
        def score(self, candidate: Candidate) -> float:
            return -super().score(candidate)

    def start(self, ctx, o, job):
        return Backwards(tutorial.Near.start(self, ctx, o, job).real)

    contract(SelectorConformance, "test_lower_is_better", "selector", tutorial.Near(), tmp_path)
    with pytest.raises(AssertionError):
        contract(SelectorConformance, "test_lower_is_better", "selector", broken(tutorial.Near, start=start), tmp_path)


def test_a_selector_that_remembers_candidates_is_found(tutorial, tmp_path):
    class Counting(tutorial.NearJudge):
        seen = 0

        def score(self, candidate: Candidate) -> float:
            self.seen += 1
            return super().score(candidate) + self.seen

    def start(self, ctx, o, job):
        return Counting(tutorial.Near.start(self, ctx, o, job).real)

    one = broken(tutorial.Near, start=start)
    for test in (
        "test_a_score_is_a_finite_number_and_always_the_same",
        "test_a_score_does_not_depend_on_candidates_seen_before",
    ):
        with pytest.raises(AssertionError):
            contract(SelectorConformance, test, "selector", one, tmp_path)


# --- what the tests look with


def test_slopes_are_those_of_a_function_whose_gradient_is_known():
    at = torch.randn(5, generator=torch.Generator().manual_seed(0))
    assert slope_error(lambda x: float(x.double().pow(3).sum()), at, 3 * at**2) < 1e-2
    assert slope_error(lambda x: float(x.double().pow(3).sum()), at, 3.3 * at**2) > 0.05


def test_a_teacher_that_was_moved_is_found(tmp_path):
    from ddbench import Need

    bench = Bench(tmp_path)
    context: StageContext = bench.context({"teacher": Need("teacher")})
    with pytest.raises(AssertionError), nothing_is_touched(bench, context), torch.no_grad():
        next(context.needs["teacher"].module.parameters()).add_(1e-3)


def test_options_without_help_are_found():
    from ddbench import Options

    class Silent(Options):
        rho: float = 0.1

    with pytest.raises(AssertionError):
        every_option_has_help(Silent)
