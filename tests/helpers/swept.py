"""Records of several methods, ipc, seeds and options, made by hand."""

from __future__ import annotations

from factory import a_record


def a_grid(values, *, sets=2, students=2, **common):
    """Return records for each (synthesizer, ipc) with a mean: sets differ by ±1 point, students by ±0.1."""
    found = []
    for (synthesizer, ipc), mean in values.items():
        for distill_seed in range(sets):
            for eval_seed in range(students):
                top1 = mean + 0.01 * (distill_seed - (sets - 1) / 2) * 2 + 0.001 * (eval_seed - (students - 1) / 2)
                found.append(a_swept(synthesizer, {}, ipc=ipc, top1=top1, seeds=(distill_seed, eval_seed), **common))
    return found


def a_swept(synthesizer, options, *, seeds=(0, 0), **changes):
    """Return a record of a synthesizer with options."""
    distill_seed, eval_seed = seeds
    where = "-".join(
        [synthesizer, *(f"{name}{value}" for name, value in options.items()), str(changes.get("ipc", 10)), str(distill_seed)]
    )
    return a_record(
        synthesizer=synthesizer,
        distill_seed=distill_seed,
        eval_seed=eval_seed,
        options={"synthesizer": {"values": options, "sources": dict.fromkeys(options, "suite")}},
        distilled_key=where,
        distilled_sha256=where,
        **changes,
    )
