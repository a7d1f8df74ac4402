"""What is made for synthesizers besides teachers: priors behind the quality gate, and experts."""

from __future__ import annotations

import pytest
import torch

import ddbench
from ddbench import Need, needs
from ddbench.cells import ExpertsChoice, PriorChoice, Request, experts_options
from ddbench.errors import BadOption, PriorMismatch, PriorRefused
from ddbench.options import Layer, resolve
from ddbench.plugins import Plugins
from ddbench.stages import ExpertsStage, PriorStage
from ddbench.store import Store
from ddbench.testing import Bench
from ddbench.training.gate import GateReport

TINY = {"iterations": 2, "prior": "random", "prior.channels": 8, "objective.batch_real": 8, "objective.network": "convnet1-w32"}
GLAD = {"options": TINY, "ipc": 1, "students": ["convnet1-w32"], "protocol": "quick-hard/1", "eval_seeds": 1, "smoke": 0.02}


class Interrupted(Exception):
    """Stands for a kill."""


def prior_stage(bench, name="trained", **options):
    entry = Plugins(()).get("prior", name)
    chosen = resolve(entry.value.options, [Layer("test", options)], owner="prior")
    return PriorStage(PriorChoice(entry, chosen), bench.data.facts, bench.precision)


def report(*, passed):
    reasons = () if passed else ("class fidelity 0.10 is below 0.54; train longer",)
    return GateReport(0.1, 0.9, 0.2, 0.3, passed=passed, reasons=reasons)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


def test_a_prior_for_other_classes_is_an_error_before_any_work(tmp_path, monkeypatch):
    def spaces(_prior, _options, facts):
        raise PriorMismatch(f"this prior is for cats and dogs, not for {facts.name}'s {len(facts.classes)} classes")

    monkeypatch.setattr(type(Plugins(()).get("prior", "random").value), "spaces", spaces)
    with pytest.raises(PriorMismatch, match="not for digits's 10 classes"):
        ddbench.run("glad", store=tmp_path, **GLAD)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in {".safetensors", ".json"}]


def test_a_prior_that_fails_the_gate_is_refused_with_its_figure_and_is_not_fitted_twice(bench, monkeypatch):
    monkeypatch.setattr(needs, "judge", lambda *_, **__: report(passed=False))
    stage = prior_stage(bench, steps=2, channels=8, batch=4)
    for _ in range(2):
        with pytest.raises(PriorRefused, match=r"class fidelity 0\.10 is below 0\.54"):
            needs.prior(bench.session(), stage)
        monkeypatch.setattr(type(stage.choice.prior), "fit", None)  # a second fit would be a TypeError
    assert bench.session().store.card("priors", stage.key)["gate"]["passed"] is False


def test_a_prior_that_passes_is_read_back_and_gives_the_same_images(bench, monkeypatch):
    monkeypatch.setattr(needs, "judge", lambda *_, **__: report(passed=True))
    stage = prior_stage(bench, steps=2, channels=8, batch=4)
    first, second = (needs.prior(bench.session(), stage) for _ in range(2))
    labels = torch.arange(4)
    drawn = [
        prior.decode(prior.init_latents(labels, "w+", how="sample", real=None, generator=torch.Generator().manual_seed(0)))
        for prior in (first, second)
    ]
    assert drawn[0].equal(drawn[1])


def test_an_untrained_prior_is_not_judged(bench, monkeypatch):
    monkeypatch.setattr(needs, "judge", None)
    stage = prior_stage(bench, "random", channels=8)
    assert needs.prior(bench.session(), stage).spaces
    assert bench.session().store.card("priors", stage.key)["gate"] is None


def experts_stage(bench, **options):
    need = Need("experts", "toy/cnn", {"count": 3, "epochs": 2, "batch": 16, **options})
    family = bench.plugins.get("network", "toy")
    spec = family.value.fit("cnn", shape=bench.data.facts.shape, num_classes=bench.data.facts.num_classes)
    choice = ExpertsChoice(experts_options(Request(()), name="experts", need=need), spec, family)
    return ExpertsStage(choice, bench.data.facts, bench.precision)


def test_experts_go_on_after_a_kill_and_end_with_the_same_bytes(tmp_path, bench):
    whole = Bench(tmp_path / "undisturbed")
    stage = experts_stage(bench)
    needs.experts(whole.session(), stage)
    session = bench.session()
    write, left = session.store.write_file, [1]

    def stopping(path, content):
        if path.name.startswith("expert"):
            if not left[0]:
                raise Interrupted
            left[0] -= 1
        write(path, content)

    session.store.write_file = stopping
    with pytest.raises(Interrupted):
        needs.experts(session, stage)
    needs.experts(bench.session(), stage)
    cards = [Store(one.root).card("experts", stage.key) for one in (whole, bench)]
    assert [cards[0]["options"], cards[0]["train_top1"]] == [cards[1]["options"], cards[1]["train_top1"]]
    trajectories = [needs.experts(one.session(), stage) for one in (whole, bench)]
    for number in range(3):
        first, second = (one.weights(number, 2) for one in trajectories)
        assert all(first[name].equal(second[name]) for name in first)


def test_experts_start_alike_only_from_the_same_number(bench):
    experts = needs.experts(bench.session(), experts_stage(bench))
    starts = [experts.weights(number, 0) for number in range(2)]
    name = next(name for name, tensor in starts[0].items() if tensor.ndim == 4)
    assert not starts[0][name].equal(starts[1][name])


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return ddbench.run("glad", store=tmp_path_factory.mktemp("store"), **GLAD)


def test_a_record_names_everything_that_was_made_for_it(outcome):
    record = next(one for one in outcome.records if one.cell.synthesizer == "glad")
    assert set(record.needs) == {"prior"}
    assert {"synthesizer", "objective", "prior"} <= set(record.options)
    assert record.options["objective"].values["batch_real"] == 8
    assert record.options["objective"].sources["batch_real"] == "command line"
    assert record.cost["prior"].seconds >= 0
    assert {"prior", "objective"} <= {block.kind for block in record.plugins}
    assert (record.teacher_key, record.cell.teacher, record.external_data) == (None, None, False)


def test_a_method_that_starts_from_a_prior_has_its_own_zero_iterations_control(outcome):
    iterations = {one.options["synthesizer"].values["iterations"] for one in outcome.records if one.cell.synthesizer == "glad"}
    assert iterations == {0, 2}


def test_the_objective_of_a_method_is_part_of_the_key_of_its_set(tmp_path):
    keys = {
        next(one.stage.distilled.key for one in planned.cells if one.cell.synthesizer == "glad")
        for planned in (
            ddbench.plan("glad", store=tmp_path, **{**GLAD, "options": {**TINY, **more}})
            for more in ({}, {"objective.batch_real": 9}, {"objective": "gradient"}, {"prior.channels": 16})
        )
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective.batch_rael": 3}, "objective 'distribution' has no option 'batch_rael'"),
        ({"selector.stages": "all"}, "'selector', which is not in this run"),
        ({"prior.chanels": 3}, "prior 'random' has no option 'chanels'"),
        ({"experts.count": 3}, "'experts', which is not in this run"),
    ],
)
def test_an_option_of_a_part_that_fits_nothing_is_refused(tmp_path, options, says):
    with pytest.raises(BadOption, match=says):
        ddbench.plan("glad", store=tmp_path, **{**GLAD, "options": {**TINY, **options}})


def test_planning_prices_a_walk_before_it_starts(tmp_path):
    planned = ddbench.plan("glad", store=tmp_path, **GLAD)
    assert {"prior random"} <= {stage.title for stage in planned.stages}
