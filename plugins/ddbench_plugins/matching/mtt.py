"""mtt: pixels on which networks train as experts did on real images."""

from __future__ import annotations

from ddbench import Options

from .fields import Init, Iterations, Momentum, Rate
from .pixels import PixelMatching


class MttOptions(Options):
    """Options of `mtt`; the defaults are those of the released code. The objective has its own: `-o objective.syn_steps=20`."""

    iterations: Iterations = 5000
    lr: Rate = 1000.0
    momentum: Momentum = 0.5
    init: Init = "real"


MTT = PixelMatching(
    "mtt",
    MttOptions,
    "trajectory",
    "Pixels on which networks train as experts did on real images.",
    advice="a smaller learning rate of the images (-o lr=…) or of the step size (-o objective.lr_lr=…)",
)
"""Dataset Distillation by Matching Training Trajectories (Cazenavette et al., CVPR 2022)."""
