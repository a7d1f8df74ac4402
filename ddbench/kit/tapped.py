"""A teacher whose batch norm layers tell the statistics of what they are given."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ddbench.api.context import Precision
from ddbench.errors import BadRequest
from ddbench.kit.residual import join_sums
from ddbench.kit.statistics import Segments, norm_with_statistics, segment_norms
from ddbench.training.cpu_layers import has_hooks
from ddbench.training.norms import Joined
from ddbench.training.precision import autocast, memory_format, placed


@dataclass
class Tape:
    """What the taps of one forward pass have seen."""

    groups: int = 1
    seen: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By tap: mean and biased variance (G, C) of its layer's input."""
    rectified: Tensor | None = None
    """What a tap gave last that rectifies by itself, until a rectifier is asked to."""


class Tap(nn.Module):
    """A batch norm layer, of whatever subclass, that first writes its input's statistics on the tape."""

    rectifies = False
    """Whether it does the work of the rectifier after it, a `Rectifier`."""

    def __init__(self, norm: nn.BatchNorm2d, tape: Tape, index: int, *, native: bool = False) -> None:
        super().__init__()
        self.norm = norm
        self.native = native
        self.tape = tape
        self.index = index

    def forward(self, inputs: Tensor, added: Tensor | None = None) -> Tensor:
        """Return what the layer returns, or a rectifier after it or its sum with `added`: a tap changes nothing else."""
        joined = Joined(self.rectifies or added is not None, added)
        output, self.tape.seen[self.index] = norm_with_statistics(
            self.norm, inputs, self.tape.groups, native=self.native, joined=joined
        )
        self.tape.rectified = output if self.rectifies and added is None else None
        return output


class Rectifier(nn.ReLU):
    """`nn.ReLU`, which lets through what a tap has rectified. One layer may serve several places of a network."""

    tape: Tape

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs rectified."""
        rectified, self.tape.rectified = self.tape.rectified, None
        return inputs if inputs is rectified else super().forward(inputs)


class TappedTeacher(nn.Module):
    """A frozen copy of a teacher in eval mode; gives logits and how far each layer's statistics are from the running ones.

    The copy's weights may be moved in place (`load`, `restore`); the running statistics stay the teacher's. In bf16 the weights
    are rounded once, when they move, and not in every step; what moves them sees them unrounded.
    """

    moved: dict[str, Tensor]
    """The weights it has now, by the names and in the dtype they have in the teacher."""
    notes: list[str]
    """One line for each thing that does not run as the stage's precision has it."""

    targets: Tensor
    """(2 K,): the running means of all layers end to end, then their running variances."""
    of_channel: Tensor
    channels: Tensor
    """With `of_channel`, the `Segments` of `targets`."""

    def __init__(self, teacher: nn.Module, shape: tuple[int, int, int], precision: Precision | None = None) -> None:
        """Copy a teacher.

        Args:
            teacher: Any network with `nn.BatchNorm2d` layers; it is left as it is.
            shape: Channels, height and width of its images, for one pass that finds the layers in use.
            precision: How the copy computes; float32 where None.

        Raises:
            BadRequest: It has no batch norm layer with running statistics.
        """
        super().__init__()
        self.precision = precision or Precision()
        self.tape = Tape()
        self.originals = {name: values.detach() for name, values in teacher.named_parameters()}
        self.moved = {name: values.clone() for name, values in self.originals.items()}
        self.notes = []
        self.network = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False)
        placed(self.network, self.precision, next(teacher.parameters()).device)
        self.held = dict(self.network.named_parameters())
        taps = _in_use(self.network, _tapped(self.network, self.tape, native=self.precision.native), shape)
        _narrow(self.network, self.precision)
        if self.precision.native:
            _rectify_at_once(self.network, self.tape, shape)
            join_sums(self.network, Tap, Rectifier, lambda: _told(self.network, self.tape, shape))
            self.tape.seen = {}
        self.layer_names = tuple(taps)
        self.order = [tap.index for tap in taps.values()]
        self._aim([tap.norm for tap in taps.values()])

    def _aim(self, norms: list[nn.BatchNorm2d]) -> None:
        """Lay the layers' running statistics end to end."""
        running = [*(norm.running_mean for norm in norms), *(norm.running_var for norm in norms)]
        targets = torch.cat([values for values in running if values is not None])
        segments = Segments.from_sizes([norm.num_features for norm in norms] * 2).to(targets.device)
        self.register_buffer("targets", targets)
        self.register_buffer("of_channel", segments.of_channel)
        self.register_buffer("channels", segments.channels)

    def forward(self, views: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """Return logits (G * B, classes), and (G, 2, L): ||mean - rmean|| and ||var - rvar|| of every group and layer.

        Both are float32, or float64 where the views are.

        Args:
            views: Images (G * B, C, H, W), normalised, group after group.
            groups: G.
        """
        self.tape.groups = groups
        with autocast(self.precision, views.device):
            logits = self.network(views.contiguous(memory_format=memory_format(self.precision)))
        seen = [self.tape.seen[index] for index in self.order]
        self.tape.seen, self.tape.rectified = {}, None
        statistics = torch.cat([*(mean for mean, _ in seen), *(var for _, var in seen)], dim=1)
        norms = segment_norms(statistics - self.targets, Segments(self.of_channel, self.channels))
        return logits.to(views.dtype), norms.view(groups, 2, len(self.order))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy parameters in place, by the names they have in the teacher, so that compiled code stays valid."""
        with torch.no_grad():
            for name, values in weights.items():
                self.moved[name].copy_(values)
                self.held[name].copy_(values)

    def note(self, line: str) -> None:
        """Keep a line in `notes`, once."""
        if line not in self.notes:
            self.notes.append(line)

    def restore(self) -> None:
        """Bring the teacher's own parameters back, bit for bit."""
        self.load(self.originals)


_copies: WeakKeyDictionary[nn.Module, dict[Precision, TappedTeacher]] = WeakKeyDictionary()


def tapped_teacher(teacher: nn.Module, shape: tuple[int, int, int], precision: Precision) -> TappedTeacher:
    """Return a tapped copy with the teacher's own weights; one copy serves all groups of jobs, as does what is compiled for it."""
    copies = _copies.setdefault(teacher, {})
    if precision not in copies:
        copies[precision] = TappedTeacher(teacher, shape, precision)
    copies[precision].restore()
    return copies[precision]


def _tapped(network: nn.Module, tape: Tape, *, native: bool) -> dict[str, Tap]:
    """Put a tap on every batch norm layer in place, and return the taps by layer name in module order."""
    taps: dict[str, Tap] = {}
    for name, part in list(network.named_modules()):
        if isinstance(part, nn.BatchNorm2d):
            if part.running_mean is None or part.running_var is None:
                raise BadRequest(f"batch norm layer {name!r} of the teacher keeps no running statistics; train it with them")
            taps[name] = Tap(part, tape, len(taps), native=native)
            network.set_submodule(name, taps[name])
    return taps


def _narrow(network: nn.Module, precision: Precision) -> None:
    """Keep the weights that autocast would round in every step rounded; subclasses may compute with theirs first."""
    if precision.dtype == "bf16" and not precision.native:
        for part in network.modules():
            if type(part) in {nn.Conv2d, nn.Linear}:
                part.to(torch.bfloat16)


def _rectify_at_once(network: nn.Module, tape: Tape, shape: tuple[int, int, int]) -> None:
    """Let taps rectify what they give, in place, where a rectifier takes it; all stays as it is where answers would change.

    They would where something else takes what a tap gives as well.
    """
    noise = _noise(network, shape)
    rectifiers = [part for part in network.modules() if type(part) is nn.ReLU and not has_hooks(part)]
    with torch.no_grad():
        taps, before = _before_rectifiers(network, rectifiers, noise)
        for part in rectifiers:
            part.__class__ = Rectifier
            cast("Rectifier", part).tape = tape
        for tap in taps:
            tap.rectifies = True
        if not torch.equal(network(noise), before):
            for tap in taps:
                tap.rectifies = False
        tape.seen, tape.rectified = {}, None


def _told(network: nn.Module, tape: Tape, shape: tuple[int, int, int]) -> list[Tensor]:
    """Return what a network answers to images of noise, what its taps see, and a gradient of both for the images."""
    images = _noise(network, shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        answers = network(images)
        told = [answers, *(values for index in sorted(tape.seen) for values in tape.seen[index])]
        (gradient,) = torch.autograd.grad(sum(values.square().sum() for values in told), images)
    tape.rectified = None
    return [*(values.detach() for values in told), gradient]


def _noise(network: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """Return two images of noise."""
    like = next(network.parameters())
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=like.dtype).to(like.device)


def _before_rectifiers(network: nn.Module, rectifiers: Sequence[nn.Module], images: Tensor) -> tuple[list[Tap], Tensor]:
    """Return the taps whose output a rectifier takes as it was given, and what the network answers."""
    given: list[tuple[Tap, Tensor, int]] = []
    taken: list[tuple[Tensor, int]] = []

    def gives(tap: nn.Module, _: object, output: Tensor) -> None:
        given.append((cast("Tap", tap), output, output._version))  # noqa: SLF001 - torch gives it no public name

    def takes(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taken.append((inputs[0], inputs[0]._version))  # noqa: SLF001

    taps = [part for part in network.modules() if isinstance(part, Tap)]
    hooks = [*(tap.register_forward_hook(gives) for tap in taps), *(part.register_forward_pre_hook(takes) for part in rectifiers)]
    answers: Tensor = network(images)
    for hook in hooks:
        hook.remove()
    return [tap for tap, output, made in given if any(output is tensor and made == version for tensor, version in taken)], answers


def _in_use(network: nn.Module, taps: dict[str, Tap], shape: tuple[int, int, int]) -> dict[str, Tap]:
    """Return the taps that one forward pass reaches, in module order."""
    if not taps:
        raise BadRequest(
            f"{type(network).__name__} has no batch norm layer, and this method matches batch norm statistics; "
            "it needs a teacher with batch norm, for example --teacher convnet3-bn or resnet18"
        )
    like = next(network.parameters())
    with torch.no_grad():
        network(torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
    tape = next(iter(taps.values())).tape
    reached = {name: tap for name, tap in taps.items() if tap.index in tape.seen}
    tape.seen = {}
    return reached
