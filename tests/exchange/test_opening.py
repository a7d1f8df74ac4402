"""What other people's files hold comes in whole, read as its values, its manifest or the flags say."""

from __future__ import annotations

import pytest
import torch

from ddbench.errors import BadRequest, BadSet
from ddbench.exchange.opening import Telling, notes_on, open_elsewhere
from ddbench.exchange.spaces import Asked
from ddbench.testing import toy_dataset

NORMALISED = Telling(Asked(space="normalised"))


def images_of(opened, number=0):
    return opened.results[number].images


def test_a_folder_of_images_per_class_is_read_image_by_image_of_every_class(image_folder, pixels, facts):
    opened = open_elsewhere(image_folder(), facts, Telling())
    assert (opened.ipc, opened.read.space, opened.raw.format) == (3, "uint8", "imagefolder")
    assert opened.results[0].labels.tolist() == [0, 1, 2, 3] * 3
    assert images_of(opened).equal(pixels[torch.arange(12).view(4, 3).T.flatten()])


@pytest.mark.parametrize("name", [str, lambda n: f"new{n:03d}", lambda n: f"class_{n}"], ids=["3", "new003", "class_3"])
def test_class_folders_may_be_named_by_number(image_folder, facts, name):
    assert open_elsewhere(image_folder(name), facts, Telling()).ipc == 3


def test_class_folders_are_known_by_name_whatever_their_order(image_folder, pixels, facts):
    from dataclasses import replace

    named = replace(facts, classes=("zebra", "ape", "yak", "bear"))
    opened = open_elsewhere(image_folder(lambda label: named.classes[label]), named, Telling())
    assert images_of(opened)[:4].equal(pixels[::3])


def test_jpeg_is_told_to_be_lossy(image_folder, facts):
    opened = open_elsewhere(image_folder(suffix="jpg"), facts, Telling())
    assert "12 of 12 images are JPEG" in " ".join(notes_on(opened, facts))


@pytest.mark.parametrize(
    ("content", "sets"),
    [
        (lambda x, y: {"images": x, "labels": y}, 1),
        (lambda x, y: {"image_syn": x, "label_syn": y, "syn_lr": torch.tensor(0.02)}, 1),
        (lambda x, y: [x, y], 1),
        (lambda x, y: (x, y, 0.02), 1),
        (lambda x, y: [[x, y], [x + 0, y]], 2),
        (lambda x, y: {"data": [[x, y], [x, y], [x, y]], "accs_all_exps": {"ConvNet": [0.5]}}, 3),
        (lambda x, y: {"images": torch.nn.Parameter(x), "labels": y.int()}, 1),
    ],
    ids=["mapping", "names of DC", "pair", "triple", "list of pairs", "experiments of DC", "parameter"],
)
def test_a_pt_may_have_any_usual_shape(saved, normalised, facts, content, sets):
    opened = open_elsewhere(saved("set.pt", content, floats=True), facts, NORMALISED)
    assert len(opened.results) == sets
    assert all(result.images.equal(normalised) for result in opened.results)
    assert all(result.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] for result in opened.results)


def test_the_older_form_of_pt_is_read_too(tmp_path, normalised, labels, facts):
    torch.save([normalised, labels], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert images_of(open_elsewhere(tmp_path / "old.pt", facts, NORMALISED)).equal(normalised)


@pytest.mark.parametrize("whole_folder", [True, False])
def test_files_of_trajectory_matching_lie_beside_one_another(save, normalised, labels, facts, whole_folder):
    path = save("mtt/images_best.pt", normalised)
    save("mtt/labels_best.pt", labels)
    save("mtt/lr_best.pt", torch.tensor(0.03))
    opened = open_elsewhere(path.parent if whole_folder else path, facts, Telling(Asked(space="zca")))
    assert opened.learned_lr == pytest.approx((0.03,))
    assert (opened.read.space, opened.read.told_by) == ("zca", "flag")
    assert images_of(opened).equal(normalised)


def test_a_changed_sibling_is_another_file(save, normalised, labels, facts):
    path = save("mtt/images_best.pt", normalised)
    save("mtt/labels_best.pt", labels)
    before = open_elsewhere(path, facts, NORMALISED).raw.sha256
    save("mtt/labels_best.pt", labels.flip(0))
    assert open_elsewhere(path, facts, NORMALISED).raw.sha256 != before


@pytest.mark.parametrize("name", ["set.npz", "set.safetensors"])
def test_npz_and_safetensors_keep_every_bit(saved, normalised, pixels, facts, name):
    floats = open_elsewhere(saved(f"f-{name}", floats=True), facts, NORMALISED)
    assert images_of(floats).equal(normalised)
    whole = open_elsewhere(saved(f"u-{name}", lambda x, y: {"x": x, "y": y}), facts, Telling())
    assert images_of(whole).equal(pixels)


def test_channels_may_come_last_and_grey_images_without_a_channel(save, pixels, labels, facts):
    last = open_elsewhere(save("last.npz", {"images": pixels.permute(0, 2, 3, 1), "labels": labels}), facts, Telling())
    assert images_of(last).equal(pixels)
    grey = toy_dataset((1, 8, 8)).facts
    flat = open_elsewhere(save("flat.npz", {"images": pixels[:, 0], "labels": labels}), grey, Telling())
    assert images_of(flat).equal(pixels[:, :1])


@pytest.mark.parametrize(("order", "expected"), [("by-class", [0, 0, 0, 1]), ("by-index", [0, 1, 2, 3])])
def test_images_without_labels_need_their_order_told(save, pixels, facts, order, expected):
    path = save("images.pt", pixels)
    with pytest.raises(BadRequest, match="--labels by-class"):
        open_elsewhere(path, facts, Telling())
    assert open_elsewhere(path, facts, Telling(labels=order)).results[0].labels[:4].tolist() == expected


def test_soft_labels_are_kept_and_the_likeliest_class_is_the_label(save, pixels, labels, facts):
    soft = torch.full((12, 4), 0.1).scatter(1, labels[:, None], 0.7)
    for content in ({"images": pixels, "labels": soft}, {"images": pixels, "labels": labels, "soft_labels": soft}):
        opened = open_elsewhere(save("soft.pt", content), facts, Telling())
        assert opened.results[0].soft_labels.equal(soft)
        assert opened.results[0].labels.equal(labels)
        assert opened.soft_labels == "probabilities"


def test_logits_are_asked_about_and_become_probabilities(save, pixels, labels, facts):
    logits = torch.zeros(12, 4).scatter(1, labels[:, None], 2.0)
    path = save("soft.pt", {"images": pixels, "labels": logits})
    with pytest.raises(BadRequest, match="--soft-labels logits"):
        open_elsewhere(path, facts, Telling())
    opened = open_elsewhere(path, facts, Telling(soft_labels="logits"))
    assert opened.results[0].soft_labels.allclose(logits.softmax(dim=1))


class TestHowPixelsAreRead:
    """Scales told apart by values, or asked for by a sentence that names the flags."""

    def opened(self, save, images, labels, facts, telling=None):
        return open_elsewhere(save("set.pt", [images, labels]), facts, telling or Telling())

    def test_bytes_and_whole_floats_up_to_255_are_pixels(self, save, pixels, labels, facts):
        for images in (pixels, pixels.float(), pixels.int()):
            opened = self.opened(save, images, labels, facts)
            assert (opened.read.space, opened.read.told_by) == ("uint8", "values")
            assert images_of(opened).equal(pixels)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
    def test_whole_numbers_of_another_scale_are_asked_about(self, save, pixels, labels, facts, dtype):
        dim = (pixels // 16).to(dtype)
        with pytest.raises(BadRequest, match="whole numbers from 0 to 15, which is no scale from 0 to 255: divide them by what"):
            self.opened(save, dim, labels, facts)
        assert self.opened(save, dim, labels, facts, Telling(Asked(space="uint8"))).read.space == "uint8"

    def test_floats_from_0_to_1_stay_as_they_are(self, save, pixels, labels, facts):
        opened = self.opened(save, pixels / 255, labels, facts)
        assert opened.read.space == "unit"
        assert images_of(opened).equal(pixels / 255)

    def test_fractions_up_to_255_are_not_rounded(self, save, pixels, normalised, labels, facts):
        opened = self.opened(save, pixels + torch.rand(pixels.shape) * 1e-3, labels, facts)
        assert opened.read.space == "normalised"
        assert images_of(opened).allclose(normalised, atol=1e-3)

    def test_normalised_images_that_reach_black_and_white_tell_what_they_were_normalised_by(self, save, labels, facts):
        ends = torch.rand(12, 3, 8, 8)
        ends[0], ends[1] = 0, 1
        mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (facts.mean, facts.std))
        opened = self.opened(save, (ends - mean) / std, labels, facts)
        assert (opened.read.space, opened.read.figures) == ("normalised", None)
        centred = self.opened(save, ends * 2 - 1, labels, facts)
        assert centred.read.figures == ((0.5,) * 3, (0.5,) * 3)
        assert images_of(centred).allclose(images_of(opened), atol=1e-5)
        theirs = [torch.tensor(numbers).view(1, -1, 1, 1) for numbers in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))]
        told = self.opened(save, (ends - theirs[0]) / theirs[1], labels, facts)
        assert told.read.figures == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
        assert images_of(told).allclose(images_of(opened), atol=1e-5)

    def test_whatever_else_goes_below_zero_is_asked_about(self, save, normalised, labels, facts):
        with pytest.raises(BadRequest, match=r"normalised\?.*--zca.*--mean.*--space normalised"):
            self.opened(save, normalised, labels, facts)
        with pytest.raises(BadRequest, match=r"whitened\?"):
            self.opened(save, normalised * 0.3, labels, facts)

    def test_other_peoples_mean_and_std_are_undone_and_our_own_put_in_their_place(self, save, pixels, normalised, labels, facts):
        theirs = (pixels / 255 - 0.4914) / 0.2023
        opened = self.opened(save, theirs, labels, facts, Telling(Asked(mean=(0.4914,), std=(0.2023,))))
        assert opened.read.figures == ((0.4914,) * 3, (0.2023,) * 3)
        assert images_of(opened).allclose(normalised, atol=1e-5)
        assert "mean 0.4914,0.4914,0.4914" in notes_on(opened, facts)[0]

    def test_what_was_asked_is_held_against_the_values(self, save, normalised, labels, facts):
        for space in ("unit", "uint8"):
            with pytest.raises(BadSet, match="were meant, and these go from -"):
                self.opened(save, normalised, labels, facts, Telling(Asked(space=space)))

    @pytest.mark.parametrize(
        "asked",
        [
            Asked(mean=(0.5,)),
            Asked(mean=(0.5, 0.5), std=(0.5, 0.5)),
            Asked(mean=(0.5,), std=(0.0,)),
            Asked(space="zca", mean=(0.5,), std=(0.5,)),
        ],
        ids=["mean alone", "two channels", "no deviation", "of whitened images"],
    )
    def test_numbers_that_make_no_sense_are_refused(self, save, normalised, labels, facts, asked):
        with pytest.raises(BadRequest, match="--mean and --std"):
            self.opened(save, normalised, labels, facts, Telling(asked))
