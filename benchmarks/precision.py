"""Whether bf16, or native layers, cost accuracy: the same cells computed in two ways, compared in pairs.

    python benchmarks/precision.py --store DIR [--dataset cifar10] [--ipc 1] [--seeds 5] [--compile] [-o NAME=VALUE ...]
    python benchmarks/precision.py --store DIR --native [fp32|bf16] [...]

In bf16 are recover or the student's training, each for itself; with native layers, of either dtype, both are. Everything else is
equal: the teacher is one and the same (trained in fp32 by torch's kernels), and so are distill seeds, eval seeds and hence every
draw. Printed are mean differences of final top1, in points, with 95 % intervals (Student's t on the pairs).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ddbench
from ddbench.api.context import Precision
from ddbench.cells import Request
from ddbench.making import Session, open_session
from ddbench.options import parse_assignments
from ddbench.planning import Plan, PlannedCell, plan
from ddbench.report.statistics import half_width
from ddbench.settings import load_settings
from ddbench.students import student_record
from ddbench.workspace import open_workspace

FP32 = Precision()
NATIVE = {
    "fp32": Precision(channels_last=True, native=True),
    "bf16": Precision("bf16", channels_last=True, native=True),
}


def variants(one: PlannedCell, bf16: Precision) -> Iterator[tuple[str, PlannedCell]]:
    """Give a cell in fp32, and with one of its stages in bf16."""
    plain = replace(one.stage.distilled, precision=FP32)
    stages = {"fp32": (plain, FP32), "student bf16": (plain, bf16)}
    if one.cell.synthesizer != "random":
        stages["recover bf16"] = (replace(plain, precision=bf16), FP32)
    for name, (distilled, precision) in stages.items():
        yield name, replace(one, stage=replace(one.stage, distilled=distilled, precision=precision))


def scores(planned: Plan, session: Session, bf16: Precision) -> dict[tuple[str, str], list[float]]:
    """Return top1 by method and variant, in the plan's order."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in planned.cells:
        for name, variant in variants(one, bf16):
            record = student_record(session, variant.stage, f"{variant.stage.title}, {name}")
            if record is not None:
                found.setdefault((one.cell.synthesizer, name), []).append(record.metric("top1"))
    return found


def by_layers(request: Request, store: Path, dtype: str) -> tuple[Plan, dict[tuple[str, str], list[float]]]:
    """Return the plan, and top1 by method and kernels; keys do not tell these apart, so that each has a store, with one teacher."""
    found: dict[tuple[str, str], list[float]] = {}
    for name, precision in (("fp32", FP32), (f"native {dtype}", NATIVE[dtype])):
        workspace = open_workspace(load_settings(store=store / name.replace(" ", "-")))
        planned = plan(request, workspace)
        session = open_session(planned, workspace)
        teachers = store / "fp32" / "teachers"
        if precision.native and teachers.is_dir():
            shutil.copytree(teachers, workspace.store.root / "teachers", dirs_exist_ok=True)
        for one in planned.cells:
            stage = replace(one.stage, distilled=replace(one.stage.distilled, precision=precision), precision=precision)
            record = student_record(session, stage, f"{stage.title}, {name}")
            if record is not None:
                found.setdefault((one.cell.synthesizer, name), []).append(record.metric("top1"))
    return planned, found


def report(found: dict[tuple[str, str], list[float]]) -> Iterator[str]:
    """Give a line for each method and each stage that ran in another way."""
    for (method, name), values in found.items():
        plain = found[method, "fp32"]
        if name == "fp32":
            yield f"{method:<8} {name:<14} {100 * sum(values) / len(values):6.2f}   n {len(values)}"
            continue
        differences = [100 * (value - other) for value, other in zip(values, plain, strict=True)]
        mean, width = sum(differences) / len(differences), half_width(differences)
        interval = "" if width is None else f"[{mean - width:+.2f}, {mean + width:+.2f}]"
        yield f"{method:<8} {name:<14} {100 * sum(values) / len(values):6.2f}   difference {mean:+.2f} {interval}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="dwa")
    parser.add_argument("--protocol")
    parser.add_argument("--students", default="convnet3-bn")
    parser.add_argument("--compile", action="store_true", help="compile what runs in bf16, as `auto` does where it pays")
    parser.add_argument(
        "--native", nargs="?", const="fp32", choices=list(NATIVE), help="compare native layers with torch's in fp32"
    )
    parser.add_argument("-o", "--option", action="append", default=[])
    given = parser.parse_args()
    request = Request(
        tuple(given.methods.split(",")),
        dataset=given.dataset,
        ipc=given.ipc,
        protocol=given.protocol,
        students=tuple(given.students.split(",")),
        distill_seeds=given.seeds,
        eval_seeds=1,
        options=parse_assignments(given.option),
        precision="fp32",
        compile="off",
    )
    if given.native:
        planned, found = by_layers(request, given.store, given.native)
    else:
        workspace = open_workspace(load_settings(store=given.store))
        planned = plan(request, workspace)
        bf16 = Precision("bf16", compile=given.compile, channels_last=given.compile)
        found = scores(planned, open_session(planned, workspace), bf16)
    print(f"{given.dataset}, ipc {given.ipc}, {planned.cells[0].cell.protocol}, ddbench {ddbench.__version__}, {planned.device}")
    for line in report(found):
        print(line)


if __name__ == "__main__":
    main()
