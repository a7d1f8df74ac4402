"""The tables of docs/protocols.md are what the recipes say; copy the missing row from a failure."""

from __future__ import annotations

import pytest

from ddbench.plugins import Plugins

PROTOCOLS = Plugins(()).all("protocol")


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def optimiser(spec) -> str:
    o = spec.optimiser
    lr = f"learned with the set, else {o.lr_without_set:g}" if o.lr == "set" else f"{o.lr:g}"
    momentum = f", momentum {o.momentum:g}" if o.momentum else ""
    return f"{o.name} {lr}{momentum}, decay {o.weight_decay:g} on {o.decay}"


def schedule(spec) -> str:
    s = spec.schedule
    parts = [f"{s.name} per {s.per}"]
    if s.name == "step":
        parts.append(f"×{s.factor:g} at {s.at:g}{' with a fresh optimiser' if s.fresh_optimiser else ''}")
    if s.warmup:
        parts.append(f"warm-up {s.warmup:g} from {s.warmup_from:g}")
    return ", ".join(parts)


def length(spec) -> str:
    return f"{spec.epochs} epochs" if spec.epochs is not None else f"{spec.steps} steps"


def augment(step) -> str:
    details = {"crop": f" {step.pad}", "shift": f" {step.pixels}", "rrc": f" {step.scale[0]:g} to {step.scale[1]:g}"}
    return step.name + details.get(step.name, "")


def loss(spec) -> str:
    if spec.loss.name == "ce":
        return "ce"
    return f"{spec.loss.name}, T {spec.loss.temperature:g}{' × T²' if spec.loss.times_t2 else ''}"


def also(spec) -> str:
    found = [f"tested: moving average {spec.ema:g}"] if spec.ema else []
    if spec.test.resize or spec.test.crop:
        found.append(f"test view: resize {spec.test.resize}, crop {spec.test.crop}")
    found += [f"`{pattern}`: lr {override.lr:g}" for pattern, override in spec.overrides.items()]
    found += [f"only `{pattern}`" for pattern in spec.students]
    return "; ".join(found) or "–"


def optimisation_row(spec) -> str:
    return row(f"`{spec.name}`", spec.label_regime, optimiser(spec), schedule(spec), length(spec), spec.batch)


def images_row(spec) -> str:
    mix = f"{spec.mix.name} {spec.mix.alpha:g}" if spec.mix else "–"
    return row(f"`{spec.name}`", ", ".join(map(augment, spec.augment)) or "–", mix, loss(spec), spec.teacher_bn or "–", also(spec))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_both_tables_say_what_the_recipe_says(name, pages):
    page = pages["docs/protocols.md"]
    assert optimisation_row(PROTOCOLS[name]) in page
    assert images_row(PROTOCOLS[name]) in page


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_paragraph_of_its_own(name, pages):
    assert f"\n### {name}\n" in pages["docs/protocols.md"]


def test_no_protocol_is_described_that_does_not_exist(pages):
    headings = [line.removeprefix("### ") for line in pages["docs/protocols.md"].splitlines() if line.startswith("### ")]
    assert headings == [name for name in headings if name in PROTOCOLS]
