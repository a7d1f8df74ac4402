"""How stages compute: the table, what a device cannot do, and that bf16 stays inside the network."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from ddbench.api.context import Precision
from ddbench.api.protocol import Optimiser, Schedule
from ddbench.training.precision import SPEEDS, Abilities, Compiled, autocast, device_abilities, estimated_s, resolve_precision
from ddbench.training.recipe import Recipe
from ddbench.training.work import Size, Work, forward_flops, layers_of, size_of, training_work

CPU = torch.device("cpu")
ABLE = Abilities("cpu", bf16=True, compiler=True, threads=2)
GPU = Abilities("gpu", bf16=True, compiler=True)
DIGITS = Work(3.5e11, 300)  # convnet3 on 8x8 images, 300 steps of 64
HOURS = Work(1.5e16, 16_000)


def _resolve(work, able=ABLE, precision="auto", compile="auto"):  # noqa: A002
    return resolve_precision(device=CPU, precision=precision, compile=compile, work=work, abilities=able)


@pytest.mark.parametrize("able", [ABLE, GPU])
def test_small_work_stays_plain(able):
    assert _resolve(DIGITS, able).precision == Precision("fp32", compile=False, channels_last=False)


@pytest.mark.parametrize("able", [ABLE, GPU])
def test_hours_of_work_are_compiled_and_in_bf16(able):
    assert _resolve(HOURS, able).precision == Precision("bf16", compile=True, channels_last=True)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("batch", Precision("bf16", channels_last=True)),  # compiling makes it no faster
        ("group", Precision("bf16", compile=True, channels_last=True)),
        ("depthwise", Precision(channels_last=True)),  # bf16 makes it no faster
    ],
)
def test_hours_of_training_on_a_cpu_are_done_the_way_that_suits_the_layers(layers, expected):
    assert _resolve(replace(HOURS, layers=layers)).precision == expected


@pytest.mark.parametrize("layers", ["batch", "group", "depthwise"])
def test_small_work_stays_plain_whatever_the_layers(layers):
    assert _resolve(replace(DIGITS, layers=layers)).precision == Precision()


def test_group_norm_is_left_in_the_usual_layout_where_it_is_not_compiled():
    minutes = Work(2e13, 400, "group")
    assert _resolve(minutes, compile="off").precision == Precision("bf16")
    assert _resolve(minutes, precision="fp32", compile="off").precision == Precision()


def test_layers_without_a_row_of_their_own_are_as_any():
    assert _resolve(replace(HOURS, layers="group"), GPU) == _resolve(HOURS, GPU)


def test_every_row_knows_every_way_that_can_be_asked_for():
    for ways in SPEEDS.values():
        assert {(way.dtype, way.compile) for way in ways} == set(product(("fp32", "bf16"), (False, True)))


def test_what_is_asked_for_is_done_whatever_the_work():
    for dtype, mode, layers in product(("fp32", "bf16"), ("on", "off"), ("any", "batch", "group", "depthwise")):
        for work in (replace(DIGITS, layers=layers), replace(HOURS, layers=layers)):
            resolved = _resolve(work, precision=dtype, compile=mode)
            assert (resolved.precision.dtype, resolved.precision.compile) == (dtype, mode == "on")
            assert resolved.notes == ()


def test_a_device_without_bf16_or_compiler_falls_back_with_one_line_each():
    plain = Abilities("cpu", bf16=False, compiler=False, threads=2)
    resolved = _resolve(HOURS, plain, precision="bf16", compile="on")
    assert resolved.precision == Precision("fp32", compile=False, channels_last=False)
    assert len(resolved.notes) == 2
    assert all("\n" not in note for note in resolved.notes)
    assert _resolve(HOURS, plain).notes == ()


@pytest.mark.parametrize("layers", ["any", "batch", "group"])
def test_kernels_of_ours_run_where_the_processor_has_no_bf16(layers):
    able = Abilities("cpu", bf16=False, compiler=True, threads=2, native=True)
    minutes = Work(3e13, 400, layers)
    assert _resolve(minutes, able).precision == Precision(channels_last=True, native=True)
    assert _resolve(minutes, able, precision="fp32").precision.native
    assert _resolve(minutes, replace(able, compiler=False)).precision.native
    assert not _resolve(minutes, able, compile="off").precision.native
    assert not _resolve(minutes, able, compile="on").precision.native
    assert not _resolve(minutes, replace(able, native=False)).precision.native
    assert not _resolve(minutes, able=GPU).precision.native
    assert _resolve(Work(2e10, 100, layers), able).precision == Precision()


@pytest.mark.parametrize("layers", ["any", "batch", "group"])
def test_kernels_of_ours_multiply_in_bf16_where_that_saves_much(layers):
    able = Abilities("cpu", bf16=True, compiler=True, threads=2, native=True)
    ours, rounded = Precision(channels_last=True, native=True), Precision("bf16", channels_last=True, native=True)
    seconds, hours = Work(3e12, 400, layers), replace(HOURS, layers=layers)
    assert _resolve(seconds, able).precision == ours
    assert _resolve(hours, able).precision == rounded
    assert _resolve(seconds, able, precision="bf16").precision == rounded
    assert _resolve(hours, able, precision="fp32").precision == ours
    assert not _resolve(hours, able, compile="off").precision.native
    units = replace(able, matrix_units=True)
    assert _resolve(seconds, units).precision == ours
    other = _resolve(hours, units).precision
    assert (other.dtype, other.native) == ("bf16", False)


def test_what_is_estimated_is_the_way_that_runs():
    able, work = Abilities("cpu", bf16=False, compiler=True, threads=2, native=True), Work(3e13, 400, "batch")
    plain, ours = (estimated_s(work, able, Precision(native=native)) for native in (False, True))
    assert ours < plain
    depthwise = replace(work, layers="depthwise")
    assert estimated_s(depthwise, able, Precision(native=True)) == estimated_s(depthwise, able, Precision())


def test_compiling_is_chosen_only_where_it_saves_more_than_it_takes():
    for flops in (1e11, 1e12, 1e13, 1e14):
        chosen = _resolve(Work(flops, 100), precision="fp32").precision.compile
        plain, compiled = (estimated_s(Work(flops, 100), ABLE, Precision(compile=mode)) for mode in (False, True))
        saved = plain - compiled
        assert chosen == (saved > 80.0)


def test_more_work_never_makes_a_stage_plainer():
    rank = {("fp32", False): 0, ("bf16", False): 1, ("fp32", True): 2, ("bf16", True): 3}
    for able in (ABLE, GPU):
        found = [_resolve(Work(10.0**power, 1000), able).precision for power in range(9, 19)]
        ranks = [rank[p.dtype, p.compile] for p in found]
        assert ranks == sorted(ranks)


def test_the_table_is_asked_the_same_twice():
    assert _resolve(HOURS) == _resolve(HOURS)
    assert device_abilities(CPU) == device_abilities(CPU)


def test_a_missing_compiler_is_seen_on_the_search_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not device_abilities(CPU).compiler
    (tmp_path / "clang++").touch(mode=0o755)
    assert device_abilities(CPU).compiler


def test_autocast_multiplies_in_bf16_and_leaves_weights_in_float32(small):
    network = small()
    with autocast(Precision("bf16"), CPU):
        answered = network(torch.randn(4, 3, 6, 6))
    assert answered.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in network.parameters())
    for other in (Precision("fp32"), Precision("bf16", native=True)):  # native layers know by themselves
        with autocast(other, CPU):
            assert network(torch.randn(4, 3, 6, 6)).dtype == torch.float32
    with autocast(Precision("fp32"), CPU):
        assert network(torch.randn(4, 3, 6, 6)).dtype == torch.float32


def test_a_function_that_cannot_be_compiled_runs_plainly_and_says_so(monkeypatch):
    def broken(function, **settings):
        def fail(*inputs):
            raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, ValueError("no compiler"), None)

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    function = Compiled(lambda x: x + 1, Precision(compile=True))
    assert function(1) == 2
    assert "running uncompiled" in function.note
    assert function(2) == 3


def test_an_error_of_the_function_itself_is_not_taken_for_the_compilers():
    def wrong(x):
        raise ValueError("the function's own")

    with pytest.raises(ValueError, match="the function's own"):
        Compiled(wrong, Precision())(1)


def test_flops_of_a_network_are_counted_by_hand(small):
    network = small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    multiply_adds = 6 * 6 * 8 * 3 * 9 + 8 * 36 * 4
    assert forward_flops(network, (3, 6, 6)) == 2 * multiply_adds
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_layers_are_told_from_the_modules(small):
    assert layers_of(small()) == "batch"
    assert layers_of(nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(8, 8))) == "group"
    assert layers_of(nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.GroupNorm(8, 8))) == "depthwise"


def test_work_of_training_is_three_passes_per_image_and_one_of_the_teacher():
    recipe = Recipe(Optimiser(name="sgd", lr=0.1, weight_decay=0.0), Schedule(name="constant"), batch=128, epochs=400)
    size, teacher = Size(1000, 20, 7, "group"), Size(500, 10, 99)
    assert training_work(size, recipe, images=100) == Work(3.0 * 1000 * 100 * 400, 400, "group", 3.0 * 20 * 100 * 400, 7 * 400)
    taught = training_work(size, recipe, images=1000, teacher=teacher)
    assert taught == Work(3500.0 * 1000 * 400, 3200, "group", 70.0 * 1000 * 400, 7 * 3200)


def test_the_size_of_a_network_is_counted_by_hand(small):
    size = size_of(small(), (3, 6, 6))
    assert size.layers == "batch"
    assert size.parameters == 8 * 3 * 9 + 8 + 2 * 8 + 8 * 36 * 4 + 4
    assert size.values == 3 * 8 * 36 + 4  # convolved, normed, rectified; and the answer


def test_operations_for_outputs_of_few_pixels_are_counted_apart_and_take_longer():
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.Flatten(), nn.Linear(32, 5)
    )
    size = size_of(network, (2, 4, 4))
    assert size.tiny == 2 * 4 * 8 * 9 * 4
    assert size.flops == size.tiny + 2 * 16 * 4 * 9 * 2 + 2 * 32 * 5
    trained = training_work(
        size, Recipe(Optimiser(name="sgd", lr=0.1, weight_decay=0.0), Schedule(name="constant"), batch=8, epochs=2), 8
    )
    assert trained.tiny == 3 * 16 * size.tiny
    able = Abilities("cpu", bf16=False, compiler=False)
    usual, slow = (estimated_s(Work(1e12, 0, tiny=tiny), able, Precision()) for tiny in (0.0, 1e12))
    assert slow == pytest.approx(3.5 * usual)
    assert estimated_s(Work(1e12, 0, tiny=1e12), GPU, Precision()) == estimated_s(Work(1e12, 0), GPU, Precision())


def test_what_passes_through_memory_takes_time_and_more_threads_share_it_but_for_weights():
    one, two = (Abilities("cpu", bf16=False, compiler=False, threads=threads) for threads in (1, 2))
    arithmetic, values, moved = Work(1e12, 0, "group"), Work(0.0, 0, "group", values=1e10), Work(0.0, 0, "group", moved=1e9)
    for work, shared in ((arithmetic, True), (values, True), (moved, False)):
        seconds, halved = (estimated_s(work, able, Precision()) for able in (one, two))
        assert seconds > 1
        assert halved == pytest.approx(seconds / 2 if shared else seconds)
