"""The contracts every synthesizer keeps, for dwa in each scope."""

from __future__ import annotations

from ddbench.testing import SynthesizerConformance
from ddbench_plugins.dwa import Dwa

CHEAP = {"iterations": 3, "lr": 0.05, "steps": 2, "roll_low": -1, "roll_high": 1}
AS_RELEASED = {**CHEAP, "batch": 3, "view": "rrc_flip_roll", "scope": "reference_cumulative", "carry_xgrad": True}
PER_IPC = {**CHEAP, "batch": 3, "scope": "per_ipc", "init": "noise"}


class TestDwa(SynthesizerConformance):
    synthesizer = Dwa()
    options = CHEAP
    nested = True


class TestDwaAsReleasedForImageNet(SynthesizerConformance):
    synthesizer = Dwa()
    options = AS_RELEASED
    nested = True


class TestDwaPerIpc(SynthesizerConformance):
    synthesizer = Dwa()
    options = PER_IPC
    nested = True
