"""Running out of memory: pieces that are halved give what the whole gives; a training step is never cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench.api.protocol import Augment, Loss, Optimiser, ProtocolSpec, Schedule, TestView
from ddbench.errors import OutOfMemory
from ddbench.training import predict
from ddbench.training.labels import label_epochs
from ddbench.training.memory import Pieces, ran_out
from ddbench.training.students import Student, StudentSeeds, train_student
from ddbench.training.teaching import Answers


def _spec(regime="soft_online", bn="running"):
    return ProtocolSpec(
        name="test/1",
        title="",
        source="",
        label_regime=regime,
        optimiser=Optimiser(name="sgd", lr=0.05, weight_decay=0.0),
        schedule=Schedule(name="constant"),
        batch=12,
        epochs=2,
        augment=(Augment(name="flip"),),
        loss=Loss(name="kl", temperature=4.0),
        teacher_bn=bn,
    )


def _starved(network, limit):
    """Make a network fail on batches above a limit, and return the list of sizes it is asked about; copies do the same."""
    asked = []

    def look(_module, inputs):
        asked.append(len(inputs[0]))
        if asked[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    network.register_forward_pre_hook(look)
    return asked


def _fits(limit, asked):
    def rows(place):
        asked.append(place.stop - place.start)
        if asked[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return torch.arange(30.0).view(10, 3)[place]

    return rows


@pytest.mark.parametrize(("limit", "sizes"), [(10, [4, 4, 2]), (3, [4, 2, 2, 2, 2, 2]), (1, [4, 2, *[1] * 10])])
def test_pieces_are_halved_until_they_fit_and_stay_so(limit, sizes):
    asked, told = [], []
    joined = Pieces("images", told.append).joined(_fits(limit, asked), 10, at_once=4)
    assert torch.equal(joined, torch.arange(30.0).view(10, 3))
    assert asked == sizes
    assert len(told) == sum(size > limit for size in sizes)


def test_a_limit_found_once_holds_for_the_next_batch():
    asked, pieces = [], Pieces("images")
    for _ in range(2):
        assert len(pieces.joined(_fits(2, asked), 4, at_once=4)) == 4
    assert asked == [4, 2, 2, 2, 2]


def test_a_single_item_that_does_not_fit_is_an_error_that_says_so():
    with pytest.raises(OutOfMemory, match="single one of images"):
        Pieces("images").joined(_fits(0, []), 4, at_once=4)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def wrong(_place):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Pieces("images").joined(wrong, 4, at_once=4)


def test_what_the_cpus_own_allocator_says_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(caught.value)


def test_a_test_pass_goes_on_with_fewer_images_and_says_so(small, pixels, run):
    images, _ = pixels(23)
    test = predict.TestImages(lambda index: images[index], 23, torch.zeros(3), torch.ones(3))
    network, told = small(4), []
    whole = predict.logits(network, test, TestView(), run)
    asked = _starved(network, 6)
    halved = predict.logits(network, test, TestView(), replace(run, note=told.append), batch=20)
    torch.testing.assert_close(halved, whole, atol=1e-6, rtol=1e-6)
    assert asked == [20, 10, 5, 5, 5, 5, 3]
    assert told == [
        "memory ran out at 20 test images at once: went on with 10",
        "memory ran out at 10 test images at once: went on with 5",
    ]


def test_a_teacher_short_of_memory_answers_in_halves_and_the_training_says_so(small, toy, teacher, run):
    data, results = toy(teacher=teacher), []
    for limit in (100, 7):
        _starved(teacher.module, limit)
        results.append(train_student(Student(small(1), "test/small"), data, _spec(), seeds=StudentSeeds(0), run=run))
    whole, halved = results
    assert whole.notes == ()
    assert halved.notes == ("memory ran out at 12 images per question to the teacher: went on with 6",)
    for name, value in halved.network.state_dict().items():
        torch.testing.assert_close(value, whole.network.state_dict()[name], atol=1e-5, rtol=1e-5)


def test_labels_are_written_in_halves_and_the_run_is_told(toy, teacher, run):
    data, told = toy(teacher=teacher), []
    whole = list(label_epochs(data, _spec("soft_epoch"), view_seed=3, run=run))
    _starved(teacher.module, 7)
    halved = list(label_epochs(data, _spec("soft_epoch"), view_seed=3, run=replace(run, note=told.append)))
    torch.testing.assert_close(torch.stack(halved), torch.stack(whole), atol=1e-2, rtol=1e-2)  # float16
    assert told == ["memory ran out at 12 images per question to the teacher: went on with 6"]


def test_a_teacher_on_batch_statistics_is_never_asked_in_halves(toy, teacher, run):
    ask = Answers(toy(teacher=teacher), "batch", run)
    _starved(teacher.module, 7)
    starved = Answers(toy(teacher=teacher), "batch", run)
    view = torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert ask(view).shape == (12, 4)
    with pytest.raises(OutOfMemory, match=r"12 images, and batch statistics.*'running'"):
        starved(view)


def test_a_training_step_that_does_not_fit_says_what_to_do(small, toy, teacher, run):
    network = small(1)
    asked = _starved(network, 7)
    with pytest.raises(OutOfMemory, match=r"training step on 12 images.*--precision bf16"):
        train_student(Student(network, "test/small"), toy(teacher=teacher), _spec(), seeds=StudentSeeds(0), run=run)
    assert asked == [12]
