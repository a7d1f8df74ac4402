"""Synthesizers, and a few other things, each broken in one way: the text of a plugin file, by what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

SOUND = """
from ddbench import JobResult, Need, Options, Synthesizer, hookimpl, jobs_per_image_index
from pydantic import Field

ddbench_api = 1


class MineOptions(Options):
    iterations: int = Field(default=2, ge=0, le=1000, description="Steps.")
    lr: float = Field(default=0.1, gt=0, le=10, description="Length of a step.")


class Mine(Synthesizer):
    name = "mine"
    version = 1
    options = MineOptions

    def start(self, o):
        return "real"

    def needs(self, o, facts):
        return {"teacher": Need("teacher")}

    def jobs(self, o, facts, ipc, seed):
        return jobs_per_image_index(facts, ipc, seed)

    def run(self, ctx, o, group):
        return [self.make(ctx, o, job) for job in group]

    def make(self, ctx, o, job):
        import torch
        from ddbench.kit import Pixels, draw_real
        from ddbench.seeding import generator_for

        teacher, labels = ctx.needs["teacher"], torch.tensor(job.labels)
        real = ctx.train.images(draw_real(ctx.train, job))
        pixels = Pixels.of(teacher, ctx.device)
        x, first = pixels.normalise(real), 0
        kept = ctx.resumed()
        if kept is not None:
            x, first = kept["x"], int(kept["step"])
        for step in range(first, o.iterations):
            noise = torch.randn(x.shape, generator=generator_for("mine", job.seed, job.index, step))
            x = x + o.lr * noise
            ctx.checkpoint({"x": x, "step": torch.tensor(step + 1)})
        return JobResult(pixels.to_uint8(x), labels)


@hookimpl
def ddbench_synthesizers():
    return [Mine()]
"""


@dataclass(frozen=True)
class Fault:
    """One way to break a plugin, and the check that has to find it."""

    text: str
    found_by: str
    """Part of the check's sentence."""
    told: str
    """Part of what it says."""


def after(line: str, code: str) -> str:
    """Return the sound plugin with more code behind a line of `make` or elsewhere."""
    assert line in SOUND, line
    depth = len(line) - len(line.lstrip())
    return SOUND.replace(line, f"{line}\n{indent(dedent(code).strip(), ' ' * depth)}", 1)


def instead(old: str, new: str) -> str:
    """Return the sound plugin with something replaced."""
    assert old in SOUND, old
    return SOUND.replace(old, new, 1)


BEGIN = '        teacher, labels = ctx.needs["teacher"], torch.tensor(job.labels)'
RESULT = "return JobResult(pixels.to_uint8(x), labels)"

FAULTS = {
    "draws from the global generator": Fault(
        instead(', generator=generator_for("mine", job.seed, job.index, step))', ")"),
        "equal seeds give equal bytes",
        "two different sets",
    ),
    "moves the global generator": Fault(after(BEGIN, "torch.rand(3)"), "nothing global", "torch's global generator"),
    "seeds numpy": Fault(after(BEGIN, "import numpy\nnumpy.random.seed(0)"), "nothing global", "numpy's global generator"),
    "ignores the distill seed": Fault(
        instead("real = ctx.train.images(draw_real(ctx.train, job))", "real = ctx.train.images(torch.arange(len(labels)))").replace(
            "job.seed, job.index, step", "job.index, step"
        ),
        "another seed gives another set",
        "two distill seeds gave one set",
    ),
    "gives more images than ipc": Fault(
        instead("return jobs_per_image_index(facts, ipc, seed)", "return jobs_per_image_index(facts, ipc + 1, seed)"),
        "every class has ipc images",
        "asked for 3 images of each class",
    ),
    "gives images of another shape": Fault(
        instead(RESULT, "return JobResult(pixels.to_uint8(x)[..., :4], labels)"), "every class has ipc", "images are (4, 3, 8, 4)"
    ),
    "mixes up the order of classes": Fault(
        instead(RESULT, "return JobResult(pixels.to_uint8(x).roll(1, 0), labels)"),
        "images are of the classes that their labels name",
        "another order of classes",
    ),
    "leaves the range of its space": Fault(
        instead(RESULT, 'return JobResult(x * 3, labels, space="unit")'), "pixels are finite and in the range", "leave [0, 1]"
    ),
    "gives NaN": Fault(
        instead(RESULT, 'return JobResult(x * float("nan"), labels, space="normalised")'), "pixels are finite", "NaN or infinity"
    ),
    "plans otherwise the second time": Fault(
        instead(
            "return jobs_per_image_index(facts, ipc, seed)",
            "self.calls = getattr(self, 'calls', 0) + 1\n        return jobs_per_image_index(facts, ipc, seed + self.calls)",
        ),
        "the plan depends on its arguments alone",
        "the jobs differ",
    ),
    "trains the teacher": Fault(
        after(BEGIN, "next(teacher.module.parameters()).data.add_(0.1)"), "the teacher is left as it was", "it moved a network"
    ),
    "puts the teacher into training mode": Fault(
        after(BEGIN, "teacher.module.train()"), "the teacher is left as it was", "training mode"
    ),
    "leaves a hook at the teacher": Fault(
        after(BEGIN, "teacher.module.register_forward_hook(lambda *_: None)"), "the teacher is left as it was", "left hooks"
    ),
    "leaves gradients at the teacher": Fault(
        after(BEGIN, "teacher.module.requires_grad_(True)"), "the teacher is left as it was", "left gradients"
    ),
    "turns gradients off": Fault(after(BEGIN, "torch.set_grad_enabled(False)"), "nothing global", "grad mode"),
    "sets the number of threads": Fault(
        after(BEGIN, "torch.set_num_threads(torch.get_num_threads() + 1)"), "nothing global", "number of threads"
    ),
    "sets a flag of cudnn": Fault(
        after(BEGIN, "torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark"), "nothing global", "cudnn flags"
    ),
    "reads the test split": Fault(
        after(
            BEGIN,
            """
            import gc
            from ddbench.data import TestSplit
            for split in [one for one in gc.get_objects() if type(one) is TestSplit]:
                split.unlock()
                split.labels()
            """,
        ),
        "the test split is never read",
        "TestSplitTouched",
    ),
    "opens the dataset itself": Fault(
        after(
            BEGIN,
            """
            from ddbench.data import open_dataset
            from ddbench.plugins import Plugins
            open_dataset("digits", roots=[], sources=Plugins(()).all("dataset")).test.labels
            """,
        ),
        "the test split is never read",
        "TestSplitTouched",
    ),
    "forgets a step on resume": Fault(
        instead('kept["x"], int(kept["step"])', 'kept["x"], int(kept["step"]) + 1'),
        "killed after a checkpoint",
        "resumed, the set is another",
    ),
    "depends on jobs made before": Fault(
        after(BEGIN, "self.done = getattr(self, 'done', 0) + 1").replace("job.seed, job.index, step", "job.seed, self.done, step"),
        "a killed run goes on",
        "the set is another",
    ),
    "has an option without help": Fault(
        instead('Field(default=0.1, gt=0, le=10, description="Length of a step.")', "Field(default=0.1, gt=0, le=10)"),
        "every option has help",
        "options without help: lr",
    ),
    "has a number without bounds": Fault(
        instead("default=0.1, gt=0, le=10,", "default=0.1,"), "every option has help and bounds", "numbers without bounds: lr"
    ),
    "changes images without iterations": Fault(
        instead("range(first, o.iterations)", "range(first, o.iterations + 1)"), "without iterations", "not those `random` draws"
    ),
    "takes too long": Fault(after(BEGIN, "import time\ntime.sleep(0.6)"), "it is quick on toy images", "s are allowed"),
    "imports torch at once": Fault(f"import torch\n{SOUND}", "imports no torch", "it imports torch"),
    "forgets to mark a hook": Fault(
        f"{SOUND}\n\ndef ddbench_teachers():\n    return []\n", "its hooks are hooks", "ddbench_teachers is called like a hook"
    ),
    "misspells a hook": Fault(SOUND.replace("ddbench_synthesizers", "ddbench_synthesiser"), "it loads", "not a hook of ddbench"),
    "fails at import": Fault(f"{SOUND}\n1 / 0\n", "it loads", "ZeroDivisionError"),
    "lacks a method": Fault(instead("class Mine(Synthesizer):", "class Mine:"), "it loads", "lacks stack, uses"),
    "is of a later API": Fault(instead("ddbench_api = 1", "ddbench_api = 99"), "it loads", "upgrade ddbench"),
    "has a name that is taken": Fault(instead('name = "mine"', 'name = "dwa"'), "", "registered twice"),
}
