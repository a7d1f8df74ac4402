from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench import Job, TrainedNetwork, kit
from ddbench.errors import BadRequest, NotEnoughImages, OutOfMemory, SpecialValue
from ddbench.kit import Pixels, Starts, draw_real, recover_jobs, stacked_jobs
from ddbench.kit.making import CHECKPOINT_STEPS


def images(results) -> torch.Tensor:
    return torch.stack([result.images for result in results])


def in_float64(context) -> None:
    """Give the context its teacher in float64, so that rounding decides nothing."""
    teacher = context.needs["teacher"]
    wide = TrainedNetwork(teacher.module.double(), teacher.classes, teacher.mean.double(), teacher.std.double())
    context.needs = {"teacher": wide}


class WideStarts(Starts):
    """Starts in float64."""

    def images(self, number: int) -> torch.Tensor:
        return super().images(number).double()


@pytest.mark.parametrize("init", ["noise", "real"])
def test_results_follow_the_plan(context, recipe, jobs, init):
    results = recover_jobs(context, replace(recipe, init=init), jobs)
    assert len(results) == len(jobs)
    for job, result in zip(jobs, results, strict=True):
        assert result.labels.tolist() == list(job.labels)
        assert result.images.shape == (len(job.labels), *context.train.facts.shape)
        assert result.images.dtype == torch.uint8
        assert result.space == "uint8"


def test_equal_seeds_give_equal_bytes_and_others_do_not(context, recipe, jobs):
    first, again = images(recover_jobs(context, recipe, jobs)), images(recover_jobs(context, recipe, jobs))
    other = images(recover_jobs(context, recipe, [replace(job, seed=8) for job in jobs]))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(job.flatten().tolist()) for job in first}) == len(jobs)


def test_the_global_generator_is_not_touched(context, recipe, jobs):
    before = torch.get_rng_state()
    recover_jobs(context, recipe, jobs)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_composition_of_a_group_does_not_matter_in_float64(context, recipe, jobs, monkeypatch):
    in_float64(context)
    monkeypatch.setattr("ddbench.kit.jobs.Starts", WideStarts)
    recipe = replace(recipe, iterations=30)
    together = images(recover_jobs(context, recipe, jobs))
    in_pairs = images([*recover_jobs(context, recipe, jobs[2:]), *recover_jobs(context, recipe, jobs[:2])])
    assert torch.equal(together[[2, 3, 0, 1]], in_pairs)


def test_classes_are_cut_into_batches_that_batch_norm_sees_apart(context, recipe, jobs):
    """Three classes and one left over: each batch is what a job of those classes alone would be, but for its draws."""
    starts = Starts(context, replace(recipe, batch=3), jobs, Pixels.of(context.needs["teacher"], context.device))
    assert len(starts) == 2
    assert starts.labels(0).tolist() == [0, 1, 2] * 4
    assert starts.labels(1).tolist() == [3] * 4
    assert starts.images(0).shape[0] == 12
    assert starts.images(1).shape[0] == 4
    cut = images(recover_jobs(context, replace(recipe, batch=3), jobs))
    whole = images(recover_jobs(context, recipe, jobs))
    assert not torch.equal(cut, whole)


def test_every_class_batch_has_draws_of_its_own(context, recipe, jobs):
    starts = Starts(context, replace(recipe, batch=2, iterations=20), jobs, Pixels.of(context.needs["teacher"], context.device))
    assert not torch.equal(starts.images(0), starts.images(1))
    assert not torch.equal(starts.views(0), starts.views(1))


def test_real_starts_are_the_images_that_random_draws(context, recipe, jobs):
    starts = Starts(context, replace(recipe, init="real", batch=3), jobs, Pixels.of(context.needs["teacher"], context.device))
    drawn = torch.stack([context.train.images(draw_real(context.train, job)) for job in jobs])
    together = torch.cat([starts.pixels.to_uint8(starts.images(number)).view(4, -1, 3, 8, 8) for number in range(2)], dim=1)
    assert torch.equal(together, drawn)


def test_without_iterations_real_images_come_back_untouched_with_their_positions(context, recipe, jobs):
    results = recover_jobs(context, replace(recipe, init="real", iterations=0), jobs)
    for job, result in zip(jobs, results, strict=True):
        assert torch.equal(result.extras["real_index"], draw_real(context.train, job))
        assert torch.equal(result.images, context.train.images(draw_real(context.train, job)))


def test_without_iterations_noise_comes_back_as_pixels(context, recipe, jobs):
    results = recover_jobs(context, replace(recipe, iterations=0, batch=3), jobs)
    starts = Starts(context, replace(recipe, batch=3), jobs, Pixels.of(context.needs["teacher"], context.device))
    assert torch.equal(results[1].images[:3], starts.pixels.to_uint8(starts.images(0))[3:6])
    assert results[0].extras == {}


def test_recover_lowers_its_loss(context, recipe, jobs, monkeypatch):
    seen = []
    monkeypatch.setattr(context, "progress", lambda step, total, **scalars: seen.append((step, total, scalars)), raising=False)
    recover_jobs(context, replace(recipe, iterations=60), jobs)
    first, last = seen[0][2], seen[-1][2]
    assert float(last["ce"] + last["bn"]) < 0.7 * float(first["ce"] + first["bn"])


def test_progress_counts_every_step_of_every_class_batch(context, recipe, jobs, monkeypatch):
    seen = []
    monkeypatch.setattr(context, "progress", lambda step, total, **_: seen.append((step, total)), raising=False)
    recover_jobs(context, replace(recipe, batch=3), jobs)
    assert seen == [(step, 10) for step in range(1, 11)]


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("kill_after", [CHECKPOINT_STEPS + 1, 3 * CHECKPOINT_STEPS + 1])
def test_a_killed_group_goes_on_from_its_checkpoint_and_ends_with_the_same_bytes(context, recipe, jobs, monkeypatch, kill_after):
    monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
    recipe = replace(recipe, batch=3, iterations=2 * CHECKPOINT_STEPS)
    whole = images(recover_jobs(context, recipe, jobs))
    context.forget_checkpoint()
    told = []

    def progress(step, total, **_) -> None:
        told.append(step)
        if len(told) == kill_after:
            raise Killed

    monkeypatch.setattr(context, "progress", progress, raising=False)
    with pytest.raises(Killed):
        recover_jobs(context, recipe, jobs)
    resumed = images(recover_jobs(context, recipe, jobs))
    assert torch.equal(resumed, whole)
    assert told[kill_after] == kill_after  # the step after the checkpoint, not the first


OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12"


def too_small_for(jobs: int, monkeypatch, *, after: int = 0) -> list[int]:
    """Let memory run out in a step of more than so many jobs, and return the list of how many each try held."""
    tries = []

    def recover(tapped, start, *given, **more):
        tries.append(start.views.shape[1])
        if tries[-1] > jobs and len(tries) > after:
            raise RuntimeError(OUT_OF_MEMORY)
        return kit.recover(tapped, start, *given, **more)

    monkeypatch.setattr("ddbench.kit.jobs.recover", recover)
    return tries


@pytest.mark.parametrize("fits", [3, 2, 1])
def test_where_memory_runs_out_half_as_many_jobs_are_optimised_at_once_and_a_note_says_so(context, recipe, jobs, monkeypatch, fits):
    in_float64(context)
    monkeypatch.setattr("ddbench.kit.jobs.Starts", WideStarts)
    whole = images(recover_jobs(context, recipe, jobs))
    tries = too_small_for(fits, monkeypatch)
    assert torch.equal(images(recover_jobs(context, recipe, jobs)), whole)
    assert tries == ([4, 2, 2] if fits > 1 else [4, 2, 1, 1, 1, 1])
    assert context.notes[0] == "memory ran out at 4 jobs side by side: went on with 2"
    assert len(context.notes) == (1 if fits > 1 else 2)


def test_memory_may_run_out_in_a_later_class_batch(context, recipe, jobs, monkeypatch):
    in_float64(context)
    monkeypatch.setattr("ddbench.kit.jobs.Starts", WideStarts)
    recipe = replace(recipe, batch=3)
    whole = images(recover_jobs(context, recipe, jobs))
    tries = too_small_for(2, monkeypatch, after=1)
    assert torch.equal(images(recover_jobs(context, recipe, jobs)), whole)
    assert tries == [4, 4, 2, 2, 2, 2]


def test_one_job_that_memory_does_not_hold_is_refused_with_ways_out(context, recipe, jobs, monkeypatch):
    too_small_for(0, monkeypatch)
    with pytest.raises(OutOfMemory, match=r"smaller batch \(-o batch=….*another teacher \(--teacher ….*--device cpu"):
        recover_jobs(context, recipe, jobs)


def test_other_errors_of_torch_are_no_lack_of_memory(context, recipe, jobs, monkeypatch):
    def recover(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr("ddbench.kit.jobs.recover", recover)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        recover_jobs(context, recipe, jobs)
    assert context.notes == []


@pytest.mark.parametrize("kill_after", [CHECKPOINT_STEPS + 1, 2 * CHECKPOINT_STEPS + 1])
def test_a_group_killed_after_memory_ran_out_goes_on_as_it_was_cut(context, recipe, jobs, monkeypatch, kill_after):
    monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
    recipe = replace(recipe, iterations=2 * CHECKPOINT_STEPS)
    tries = too_small_for(2, monkeypatch)
    whole = images(recover_jobs(context, recipe, jobs))
    context.forget_checkpoint()
    context.notes.clear()
    told = []

    def progress(step, total, **_) -> None:
        told.append((step, total))
        if len(told) == kill_after:
            raise Killed

    monkeypatch.setattr(context, "progress", progress, raising=False)
    with pytest.raises(Killed):
        recover_jobs(context, recipe, jobs)
    context.notes.clear()
    tries.clear()
    assert torch.equal(images(recover_jobs(context, recipe, jobs)), whole)
    assert 4 not in tries
    assert context.notes == ["memory ran out at 4 jobs side by side: went on with 2"]
    assert told[-1] == (2 * CHECKPOINT_STEPS, 2 * CHECKPOINT_STEPS)
    assert [step for step, _ in told] == sorted(step for step, _ in told)


def test_a_group_resumed_where_there_is_less_memory_begins_anew_with_fewer_jobs(context, recipe, jobs, monkeypatch):
    in_float64(context)
    monkeypatch.setattr("ddbench.kit.jobs.Starts", WideStarts)
    monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
    recipe = replace(recipe, iterations=2 * CHECKPOINT_STEPS)
    whole = images(recover_jobs(context, recipe, jobs))
    context.forget_checkpoint()
    told = []

    def progress(step, total, **_) -> None:
        told.append(step)
        if len(told) == CHECKPOINT_STEPS + 1:
            raise Killed

    monkeypatch.setattr(context, "progress", progress, raising=False)
    with pytest.raises(Killed):
        recover_jobs(context, recipe, jobs)
    tries = too_small_for(2, monkeypatch)
    assert torch.equal(images(recover_jobs(context, recipe, jobs)), whole)
    assert tries == [4, 2, 2]


def test_what_a_step_could_not_do_as_asked_is_noted_once_for_all_class_batches(context, recipe, jobs, monkeypatch):
    def recover(tapped, start, *given, **more):
        tapped.note("compiling failed: running uncompiled")
        return kit.recover(tapped, start, *given, **more)

    monkeypatch.setattr("ddbench.kit.jobs.recover", recover)
    recover_jobs(context, replace(recipe, batch=2), jobs)
    assert context.notes == ["compiling failed: running uncompiled"]


def test_a_checkpoint_of_another_group_is_not_used(context, recipe, jobs, monkeypatch):
    monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
    recipe = replace(recipe, iterations=CHECKPOINT_STEPS)
    alone = images(recover_jobs(context, recipe, jobs[:2]))
    context.forget_checkpoint()
    recover_jobs(context, recipe, jobs[2:])
    assert torch.equal(images(recover_jobs(context, recipe, jobs[:2])), alone)


def test_images_that_are_no_numbers_name_their_job_and_the_way_out(context, recipe, jobs):
    with torch.no_grad():
        next(context.needs["teacher"].module.parameters()).fill_(torch.nan)
    with pytest.raises(SpecialValue, match=r"job 0 became NaN or infinite; try a smaller learning rate \(-o lr=0.01"):
        recover_jobs(context, recipe, jobs)


def test_jpeg_changes_what_is_saved_and_nothing_else(context, recipe, jobs):
    plain, lossy = (images(recover_jobs(context, replace(recipe, jpeg=jpeg), jobs)) for jpeg in (False, True))
    assert not torch.equal(plain, lossy)
    assert float((plain.float() - lossy.float()).abs().mean()) < 60


def test_jpeg_of_unfit_channels_is_refused_before_anything_is_made(context, recipe, jobs):
    context.train = replace(context.train, facts=replace(context.train.facts, shape=(4, 8, 8)))
    with pytest.raises(BadRequest, match="not 4"):
        recover_jobs(context, replace(recipe, jpeg=True), jobs)


def test_a_class_without_enough_real_images_is_refused(context, recipe):
    with pytest.raises(NotEnoughImages):
        recover_jobs(context, replace(recipe, init="real"), [Job(5, (0, 2), seed=0)])


def test_an_adjustment_is_asked_before_every_class_batch_in_order(context, recipe, jobs):
    asked = []

    def adjust(tapped, starts, number) -> None:
        asked.append((number, len(starts)))

    moved = images(recover_jobs(context, replace(recipe, batch=1), jobs, adjust=adjust))
    assert asked == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert torch.equal(moved, images(recover_jobs(context, replace(recipe, batch=1), jobs)))


def test_an_adjustment_moves_the_weights_for_its_jobs_alone(context, recipe, jobs):
    def adjust(tapped, starts, number) -> None:
        tapped.load({name: values * 1.5 for name, values in tapped.originals.items()})

    plain = images(recover_jobs(context, recipe, jobs))
    assert not torch.equal(images(recover_jobs(context, recipe, jobs, adjust=adjust)), plain)
    assert torch.equal(images(recover_jobs(context, recipe, jobs)), plain)


@pytest.mark.parametrize(
    ("side", "classes", "expected"), [(32, 10, 50), (32, 100, 5), (8, 10, 50), (64, 200, 1), (224, 1000, 1), (28, 10, 50)]
)
def test_small_jobs_are_stacked_and_large_ones_are_not(train, recipe, side, classes, expected):
    facts = replace(train.facts, shape=(3, side, side), classes=tuple(map(str, range(classes))))
    assert stacked_jobs(recipe, facts) == expected
