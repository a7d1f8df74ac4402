from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from typing import ClassVar

import pytest
import torch

from ddbench.data import HeldSplit
from ddbench.errors import BadOption, BadRequest, NotEnoughImages
from ddbench.kit import IdentityPrior, Pixels, draw_real, known_spaces
from ddbench.options import read_presets, resolve
from ddbench.testing import Bench
from ddbench_plugins.glad import Glad, GladOptions, Hglad, HgladOptions
from ddbench_plugins.glad.legs import evenly, glad_recipe, hglad_recipe, middle
from ddbench_plugins.glad.options import begins_as
from ddbench_plugins.matching import DM, Distribution, Trajectory
from ddbench_plugins.priors import Pixel
from ddbench_plugins.selectors import Last
from toy_walks import ToyMatching, ToyObjective, ToyPrior, ToyPriorKind, ToySelector

CHEAP = {"prior": "toy", "objective": "toy", "iterations": 12, "lr_w": 0.5, "lr_f": 2.0}
WALK = {**CHEAP, "selector": "toy"}


@pytest.fixture
def bench(tmp_path):
    return Bench(
        tmp_path / "store",
        parts={"objective": [ToyObjective()], "selector": [ToySelector(), Last()]},
        priors=[ToyPriorKind(), Pixel()],
    )


def legs(o, prior=None):
    recipe = hglad_recipe(o, prior or ToyPrior())
    return [(leg.space, leg.steps) for leg in recipe.legs]


def shown(images, facts):
    """Return normalised images as unit ones, clamped."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (facts.mean, facts.std))
    return (images * std + mean).clamp(0, 1)


class TestLegs:
    @pytest.mark.parametrize(
        ("spaces", "expected"),
        [
            (("w+", "f1", "f2", "pixel"), "f2"),
            (("w+", "f1", "f2", "f3", "pixel"), "f2"),
            (("w+", "f1"), "f1"),
            (("pixel",), "pixel"),
            (("z",), "z"),
        ],
    )
    def test_the_middle_space_is_between_styles_and_pixels(self, spaces, expected):
        assert middle(spaces) == expected

    @pytest.mark.parametrize(("steps", "count"), [(300, 3), (10, 3), (2, 3), (0, 2), (7, 1)])
    def test_steps_are_split_evenly_and_none_is_lost(self, steps, count):
        parts = evenly(steps, count)
        assert sum(parts) == steps
        assert len(parts) == count
        assert max(parts) - min(parts) <= 1

    def test_glad_and_hglad_make_equally_many_steps(self):
        glad = glad_recipe(GladOptions(iterations=31), ToyPrior())
        assert glad.steps == hglad_recipe(HgladOptions(iterations=31), ToyPrior()).steps == 31

    def test_all_spaces_are_walked_but_pixels_only_where_asked_for(self):
        assert legs(HgladOptions(iterations=6)) == [("w+", 2), ("f1", 2), ("f2", 2)]
        assert [space for space, _ in legs(HgladOptions(include_pixels=True))] == ["w+", "f1", "f2", "pixel"]
        assert [space for space, _ in legs(HgladOptions(spaces=("f1", "pixel")))] == ["f1", "pixel"]
        assert legs(HgladOptions(iterations=5), IdentityPrior((3, 8, 8))) == [("pixel", 5)]

    def test_spaces_may_have_steps_and_factors_of_their_own(self):
        o = HgladOptions(iterations=9, space_steps=(1, 3, 5), space_lr=(1.0, 0.5, 0.1), lr_f=4.0, lr_w=2.0)
        recipe = hglad_recipe(o, ToyPrior())
        assert [leg.steps for leg in recipe.legs] == [1, 3, 5]
        assert [(leg.lr["f"], leg.lr["w"]) for leg in recipe.legs] == [(4.0, 2.0), (2.0, 1.0), (0.4, 0.2)]

    @pytest.mark.parametrize(
        ("changes", "every"), [({}, 10), ({"select_every": 7}, 7), ({"selector": "last"}, 0), ({"iterations": 3}, 1)]
    )
    def test_a_tenth_of_a_spaces_steps_lies_between_candidates(self, changes, every):
        assert hglad_recipe(HgladOptions(**{"iterations": 300, **changes}), ToyPrior()).select_every == every

    def test_without_iterations_nothing_is_walked(self):
        assert legs(HgladOptions(iterations=0, space_steps=(1, 2, 3))) == [("w+", 0)]

    @pytest.mark.parametrize("o", [GladOptions(space="f7"), HgladOptions(spaces=("w+", "f7"))])
    def test_an_unknown_space_is_named_with_those_there_are(self, o):
        make = glad_recipe if isinstance(o, GladOptions) else hglad_recipe
        with pytest.raises(BadRequest, match=r"no space 'f7'.*w\+, f1, f2, pixel"):
            make(o, ToyPrior())

    def test_values_for_another_number_of_spaces_are_refused(self):
        with pytest.raises(BadOption, match=r"2 space_lr were given for 3 spaces: w\+, f1, f2"):
            hglad_recipe(HgladOptions(space_lr=(1.0, 2.0)), ToyPrior())


class TestPlan:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"iterations": 9, "space_steps": (1, 2)}, "add up to 3, and iterations is 9"),
            ({"iterations": 9, "space_steps": (10, -1)}, "add up to 9"),
            ({"space_lr": (1.0, 0.0)}, "not positive"),
            ({"spaces": ("f1",), "space_lr": (1.0, 2.0)}, "go together"),
        ],
    )
    def test_values_that_contradict_one_another_are_refused_before_any_work(self, bench, changes, told):
        with pytest.raises(BadOption, match=told):
            Hglad().jobs(HgladOptions(**changes), bench.data.facts, 1, 0)

    @pytest.mark.parametrize("method", [Glad(), Hglad()])
    def test_a_class_mean_for_several_images_of_a_class_is_refused(self, bench, method):
        method.jobs(method.options(init="class_mean"), bench.data.facts, 1, 0)
        with pytest.raises(BadOption, match="init=sample"):
            method.jobs(method.options(init="class_mean"), bench.data.facts, 2, 0)

    @pytest.mark.parametrize(
        ("o", "ipc", "how"),
        [
            (HgladOptions(), 1, "class_mean"),
            (HgladOptions(), 2, "sample"),
            (HgladOptions(avg_w=False), 1, "sample"),
            (HgladOptions(init="encode"), 1, "encode"),
            (GladOptions(), 1, "sample"),
            (GladOptions(avg_w=True), 1, "class_mean"),
            (GladOptions(avg_w=True), 10, "sample"),
        ],
    )
    def test_latents_begin_at_the_class_mean_only_where_a_class_has_one_image(self, o, ipc, how):
        assert begins_as(o, ipc) == how

    def test_real_starts_need_as_many_real_images(self, bench):
        with pytest.raises(NotEnoughImages, match="12 train images"):
            Glad().jobs(GladOptions(init="encode"), bench.data.facts, 13, 0)
        assert len(Glad().jobs(GladOptions(), bench.data.facts, 13, 0)) == 1

    def test_parts_and_the_prior_are_asked_for_by_name(self, bench):
        o = HgladOptions(prior="p", objective="o", selector="s")
        assert Hglad().needs(o, bench.data.facts)["prior"].name == "p"
        assert {kind: use.name for kind, use in Hglad().uses(o).items()} == {"objective": "o", "selector": "s"}
        assert Glad().uses(GladOptions(objective="o")).keys() == {"objective"}


class TestResults:
    def test_without_iterations_the_set_is_the_decoded_start(self, bench):
        made = bench.distil(Glad(), ipc=2, seed=4, options={**CHEAP, "space": "f1", "iterations": 0})
        from ddbench.seeding import generator_for

        labels = torch.arange(4).repeat(2)
        prior = ToyPrior(bench.data.facts.shape)
        start = prior.init_latents(labels, "f1", how="sample", real=None, generator=generator_for("latents", 4, 0))
        assert made.space == "unit"
        assert torch.allclose(made.images, (prior.decode(start) + 1) / 2)
        assert set(made.extras) == {"lr"}

    def test_latents_decode_to_the_images_of_the_set(self, bench):
        made = bench.distil(Glad(), ipc=2, options={**CHEAP, "space": "f1", "keep_latents": True})
        from ddbench import Latents

        latents = {name.removeprefix("latents."): made.extras[name] for name in ("latents.w", "latents.f")}
        decoded = ToyPrior(bench.data.facts.shape).decode(Latents("f1", latents, made.labels))
        assert torch.allclose(made.images, (decoded + 1) / 2)

    def test_optimising_brings_the_objective_down(self, bench):
        curves = bench.distil(Glad(), ipc=2, options={**CHEAP, "iterations": 60}).extras["walk.loss"]
        assert curves[-5:].mean() < 0.9 * curves[:5].mean()

    def test_one_space_walked_without_choosing_is_glad(self, bench):
        glad = bench.distil(Glad(), ipc=2, options={**CHEAP, "space": "f1"})
        hglad = bench.distil(Hglad(), ipc=2, options={**CHEAP, "spaces": ("f1",), "selector": "last"})
        assert glad.images.equal(hglad.images)

    def test_last_asks_no_judge(self, bench, monkeypatch):
        monkeypatch.setattr(Last, "start", lambda *_: pytest.fail("asked"))
        made = bench.distil(Hglad(), ipc=1, options={**CHEAP, "selector": "last"})
        assert "walk.score" not in made.extras

    def test_what_is_handed_on_has_the_lowest_score_of_its_space(self, bench):
        extras = bench.distil(Hglad(), ipc=2, options=WALK).extras
        for leg, chosen in enumerate(extras["walk.chosen"].tolist()):
            of_leg = extras["walk.scored_at"][:, 0] == leg
            scores, steps = extras["walk.score"][of_leg], extras["walk.scored_at"][of_leg, 1].tolist()
            assert chosen == steps[int(scores.argmin())]
            assert steps == [0, 1, 2, 3, 4]

    def test_the_picture_space_by_space_ends_with_the_set(self, bench):
        made = bench.distil(Hglad(), ipc=2, options={**CHEAP, "selector": "last", "keep_walk": True})
        ends = made.extras["walk.ends"]
        assert ends.shape == (3, 8, *bench.data.facts.shape)
        assert ends[-1].equal((made.images * 255).round().to(torch.uint8))
        assert not ends[0].equal(ends[1])

    def test_a_walk_that_ends_in_pixels_keeps_what_leaves_the_range(self, bench):
        made = bench.distil(Hglad(), ipc=2, options={**CHEAP, "selector": "last", "spaces": ("f2", "pixel"), "lr_pixel": 200.0})
        facts = bench.data.facts
        black, white = Pixels.of_facts(facts, torch.device("cpu")).bounds()
        assert made.space == "normalised"
        assert ((made.images < black) | (made.images > white)).any()

    def test_a_learned_step_size_is_kept_with_the_set(self, tmp_path):
        bench = Bench(tmp_path / "store", parts={"objective": [ToyObjective(lr=0.0625)]}, priors=[ToyPriorKind()])
        assert bench.distil(Glad(), ipc=1, options=CHEAP).extras["lr"].tolist() == [0.0625]

    def test_trajectories_are_matched_on_plain_images_and_their_step_size_is_learned(self, tmp_path):
        bench = Bench(tmp_path / "store", parts={"objective": [Trajectory()]}, priors=[ToyPriorKind()])
        given = {"network": "toy/smooth", "syn_steps": 2, "expert_epochs": 1, "max_start": 2, "experts": 2, "lr_lr": 1e-3}
        options = {
            **CHEAP,
            "objective": "trajectory",
            "lr_f": 20.0,
            **{f"objective.{name}": value for name, value in given.items()},
        }
        stage = bench.stage(Glad(), ipc=1, options=options)
        made = bench.distil(Glad(), ipc=1, options=options)
        assert stage.method.parts["objective"].options.values.zca is False
        assert made.space == "unit"
        assert made.extras["lr"].shape == (1,)
        assert float(made.extras["lr"]) != pytest.approx(0.01, abs=1e-9)
        assert not made.images.equal(bench.distil(Glad(), ipc=1, options={**options, "iterations": 0}).images)

    def test_the_mean_of_a_class_and_a_sample_begin_differently(self, bench):
        sets = [bench.distil(Hglad(), ipc=1, options={**WALK, "avg_w": mean, "iterations": 0}) for mean in (True, False)]
        assert not sets[0].images.equal(sets[1].images)

    def test_an_objective_in_a_whitened_space_is_refused_with_what_to_do(self, tmp_path):
        bench = Bench(tmp_path / "store", parts={"objective": [ToyObjective(space="zca")]}, priors=[ToyPriorKind(), Pixel()])
        for prior in ("toy", "pixel"):
            with pytest.raises(BadRequest, match=r"objective\.zca=false"):
                bench.distil(Glad(), ipc=1, options={**CHEAP, "prior": prior, "init": "encode"})


class TestPresets:
    names = ("cifar10", "digits", "gradient", "imagenet", "trajectory")

    @pytest.mark.parametrize("method", [Glad(), Hglad()])
    def test_every_preset_is_valid_and_has_a_title_and_sources(self, method):
        known = read_presets(files("ddbench_plugins.glad").joinpath("presets").joinpath(method.name))
        assert tuple(sorted(known)) == self.names
        for preset in known.values():
            resolve(method.options, [preset.layer], owner=method.name)
            assert preset.title
            assert all(len(note) > 3 for note in preset.layer.notes.values())

    @pytest.mark.parametrize(
        ("name", "rates"),
        [("imagenet", ("distribution", 0.01, 10)), ("gradient", ("gradient", 0.001, 1)), ("trajectory", ("trajectory", 10, 1e4))],
    )
    def test_presets_hold_the_rates_of_the_released_commands(self, name, rates):
        layer = read_presets(files("ddbench_plugins.glad").joinpath("presets").joinpath("glad"))[name].layer
        o = resolve(GladOptions, [layer], owner="glad").values
        assert (o.objective, o.lr_w, o.lr_f) == rates

    def test_the_plugin_imports_no_torch(self):
        code = "import sys, ddbench_plugins.glad; print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip() == "[]"


class TestPixelPrior:
    options: ClassVar = {**CHEAP, "prior": "pixel", "init": "encode", "lr_pixel": 3.0}

    def test_real_images_are_optimised_as_pixels(self, bench):
        made = bench.distil(Glad(), ipc=2, seed=1, options=self.options)
        stage = bench.stage(Glad(), ipc=2, seed=1, options=self.options)
        train, facts = HeldSplit(bench.data), bench.data.facts
        x = Pixels.of_facts(facts, torch.device("cpu")).normalise(train.images(draw_real(train, stage.jobs[0]))).requires_grad_()
        sgd, matching = torch.optim.SGD([x], lr=3.0, momentum=0.5), ToyMatching(facts.num_classes, facts.shape, seed=1)
        for step in range(12):
            _, x.grad = matching.loss_and_grad(x, made.labels, step)
            sgd.step()
        assert made.space == "normalised"
        assert torch.allclose(made.images, x.detach(), rtol=0, atol=1e-5)

    def test_the_start_is_what_random_draws(self, bench):
        made = bench.distil(Glad(), ipc=3, seed=1, options={**self.options, "iterations": 0})
        train = HeldSplit(bench.data)
        drawn = train.images(draw_real(train, bench.stage(Glad(), ipc=3, seed=1, options=self.options).jobs[0]))
        assert (shown(made.images, bench.data.facts) * 255).round().to(torch.uint8).equal(drawn)

    def test_glad_on_pixels_is_dm(self, tmp_path):
        bench = Bench(tmp_path / "store", parts={"objective": [Distribution()]}, priors=[Pixel()])
        given = {"iterations": 6, "objective.network": "toy/smooth", "objective.batch_real": 4}
        dm = bench.distil(DM, ipc=2, seed=3, options={**given, "lr": 5.0})
        options = {**given, "prior": "pixel", "objective": "distribution", "init": "encode", "lr_pixel": 5.0}
        glad = bench.distil(Glad(), ipc=2, seed=3, options=options)
        assert glad.images.equal(dm.images)
        assert glad.extras["walk.loss"].equal(dm.extras["walk.loss"])

    def test_pixels_cannot_be_sampled(self, bench):
        with pytest.raises(BadRequest, match="init=encode"):
            bench.distil(Glad(), ipc=1, options={**self.options, "init": "sample"})

    def test_it_is_one_space_without_weights_or_gate(self, bench):
        prior = Pixel()
        assert prior.spaces(prior.options(), bench.data.facts) == ("pixel",)
        assert prior.fit(None, prior.options()) == ({}, {})
        assert not prior.gated
        known_spaces(prior.load({}, prior.options(), bench.data.facts), ["pixel"])
