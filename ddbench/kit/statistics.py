"""Batch statistics by group, and the norms of their distance to a teacher's running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ddbench.training import norms
from ddbench.training.cpu_layers import has_hooks
from ddbench.training.norms import Joined

OWN_KERNEL = {"cpu", "cuda"}
"""Kinds of device with a kernel for the statistics of a batch norm layer's input."""

OWN_AFFINE = {"cuda"}
"""Kinds of device with one for an affine map of each channel; it replaces three kernels."""


ALONE = Joined()
"""Nothing is done with what a norm gives."""


def group_statistics(inputs: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (G, C) of each group of a batch, in float32, or float64 where the input is.

    Args:
        inputs: (G * B, C, H, W), any float type: what a batch norm layer is given, group after group.
        groups: G, the number of groups. Statistics are taken over B, H and W.
    """
    mean, var = _GroupStatistics.apply(inputs, groups)
    return mean, var


class _GroupStatistics(torch.autograd.Function):
    """One pass forward; one affine per channel backward, so that no copy of the activation is made or kept."""

    @staticmethod
    def forward(inputs: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        if inputs.device.type in OWN_KERNEL and not torch.compiler.is_compiling():
            return _moments(_grouped(inputs, groups))
        var, mean = torch.var_mean(_grouped(_wide(inputs), groups), dim=(1, 3, 4), correction=0)
        return mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.groups = inputs[1]
        ctx.save_for_backward(inputs[0], output[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """dL/dx = (g_mean + 2 g_var (x - mean)) / n, with n = B H W."""
        inputs, mean = ctx.saved_tensors
        grouped = _grouped(inputs, ctx.groups)
        count = grouped.shape[1] * grouped.shape[3] * grouped.shape[4]
        g_mean, g_var = (grad / count for grad in grads)
        slope = 2 * g_var
        if inputs.device.type in OWN_AFFINE and not torch.compiler.is_compiling():
            return _affine(grouped, slope, g_mean, mean), None
        offset = g_mean - slope * mean
        grad = torch.addcmul(_per_channel(offset), _per_channel(slope), grouped.to(mean.dtype))
        return grad.flatten(0, 1).to(inputs.dtype), None


def _moments(grouped: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (G, C) by batch norm's own kernel: uncompiled, `var_mean` is several times slower."""
    wide = _wide(grouped) if grouped.device.type == "cpu" else grouped  # elsewhere it sums bf16 in float32 by itself
    moments = [torch.batch_norm_update_stats(group, None, None, 0.0) for group in wide]
    if len(moments) == 1:
        return moments[0][0][None], moments[0][1][None]
    return torch.stack([mean for mean, _ in moments]), torch.stack([var for _, var in moments])


def _affine(grouped: Tensor, slope: Tensor, offset: Tensor, mean: Tensor) -> Tensor:
    """Return (G * B, C, H, W): slope (x - mean) + offset, by batch norm's own kernel, in the input's dtype and layout."""
    ones = torch.ones_like(mean[0])
    parts = [torch.batch_norm_elemt(x, slope[g], offset[g], mean[g], ones, 0.0) for g, x in enumerate(grouped)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _wide(inputs: Tensor) -> Tensor:
    """Return what statistics are summed in: float64 where the inputs are, float32 elsewhere."""
    return inputs if inputs.dtype == torch.float64 else inputs.float()


def _grouped(inputs: Tensor, groups: int) -> Tensor:
    """Return (G * B, C, H, W) as a view (G, B, C, H, W)."""
    return inputs.view(groups, inputs.shape[0] // groups, *inputs.shape[1:])


def _per_channel(values: Tensor) -> Tensor:
    """Return (G, C) as (G, 1, C, 1, 1)."""
    return values[:, None, :, None, None]


def norm_with_statistics(
    norm: nn.BatchNorm2d, inputs: Tensor, groups: int, *, native: bool = False, joined: Joined = ALONE
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return what a frozen batch norm layer in eval mode gives, and its input's `group_statistics`.

    Uncompiled, on a device with its own kernels for both, their gradients are joined in one place and in the input's layout.

    Args:
        norm: The layer.
        inputs: (G * B, C, H, W)
        groups: G
        native: Whether a CPU runs native layers.
        joined: What is done with what the layer gives.
    """
    affine = type(norm) is nn.BatchNorm2d and not has_hooks(norm) and norm.weight is not None and norm.bias is not None
    own = inputs.device.type in OWN_AFFINE
    if not affine or torch.compiler.is_compiling() or not (own or (native and norms.suits(inputs, norm.weight))):
        statistics, output = group_statistics(inputs, groups), norm(inputs)
        return joined.plainly(output), statistics
    if not own:
        added = joined.added
        alike = added is None or (added.shape, added.dtype, added.device) == (inputs.shape, inputs.dtype, inputs.device)
        output, mean, var = _NativeNorm.apply(inputs, norm, groups, joined.rectify and alike, added if alike else None)
        return output if alike else joined.plainly(output), (mean, var)
    invstd = torch.rsqrt(cast("Tensor", norm.running_var) + norm.eps)
    output, mean, var = _NormWithStatistics.apply(inputs, groups, (norm.weight, norm.bias, norm.running_mean, invstd))
    return joined.plainly(output), (mean, var)


class _NormWithStatistics(torch.autograd.Function):
    """A frozen batch norm and the statistics of its input; the gradient is one affine map of each side's, added."""

    @staticmethod
    def forward(inputs: Tensor, groups: int, frozen: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, mean, invstd = frozen
        return torch.batch_norm_elemt(inputs, weight, bias, mean, invstd, 0.0), *_moments(_grouped(inputs, groups))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, tuple[Tensor, ...]], output: tuple[Tensor, ...]) -> None:
        tensor, ctx.groups, (weight, _, _, invstd) = inputs
        ctx.save_for_backward(tensor, output[1], weight * invstd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """dL/dx = w g / sqrt(rvar + eps) + (g_mean + 2 g_var (x - mean)) / n, with n = B H W."""
        inputs, mean, scale = ctx.saved_tensors
        grouped = _grouped(inputs, ctx.groups)
        count = grouped.shape[1] * grouped.shape[3] * grouped.shape[4]
        zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
        gradient = torch.batch_norm_elemt(grads[0], scale, zeros, zeros, ones, 0.0)
        return gradient.add_(_affine(grouped, 2 * grads[2] / count, grads[1] / count, mean)), None, None


class _NativeNorm(torch.autograd.Function):
    """The same by native layers, with what is added and rectified: each activation is read from memory once forward, and with its
    gradient once backward."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - torch gives them by position
        ctx: Any,
        inputs: Tensor,
        norm: nn.BatchNorm2d,
        groups: int,
        rectify: bool,  # noqa: FBT001
        added: Tensor | None,
    ) -> tuple[Tensor, ...]:
        laid_out = None if added is None else added.contiguous(memory_format=torch.channels_last)
        output, affine, (mean, var) = norms.frozen(inputs, norm, groups, Joined(rectify, laid_out))
        ctx.rectify = rectify
        ctx.save_for_backward(inputs, affine, mean, None if added is None else output)
        return output, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """As of the function above; what was added gets the gradient that the rectifier lets through."""
        inputs, affine, mean, output = ctx.saved_tensors
        gradient, passed = norms.frozen_gradient((inputs, affine, mean), grads, rectify=ctx.rectify, outputs=output)
        return gradient, None, None, None, passed


@dataclass(frozen=True)
class Segments:
    """How the channels of several layers, laid end to end, belong to their layers."""

    of_channel: Tensor
    """int64 (K,): the layer of each channel."""
    channels: Tensor
    """int64 (L, longest): positions of each layer's channels, filled up with K, where a zero is appended."""

    @classmethod
    def from_sizes(cls, sizes: Sequence[int]) -> Segments:
        """Return the segments of layers with `sizes` channels."""
        total, longest = sum(sizes), max(sizes)
        channels = torch.full((len(sizes), longest), total)
        start = 0
        for layer, size in enumerate(sizes):
            channels[layer, :size] = torch.arange(start, start + size)
            start += size
        return cls(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)), channels)

    def to(self, device: torch.device) -> Segments:
        """Return the same segments on a device."""
        return Segments(self.of_channel.to(device), self.channels.to(device))


def segment_norms(values: Tensor, segments: Segments) -> Tensor:
    """Return (G, L): the Euclidean norm of each layer's channels, for all layers at once; its gradient is 0 at 0.

    Args:
        values: (G, K), the layers' channels end to end.
        segments: Which channel belongs to which layer.
    """
    norms: Tensor = _SegmentNorms.apply(values, segments.of_channel, segments.channels)
    return norms


class _SegmentNorms(torch.autograd.Function):
    """Sums by gathering, never by scattering, so that the order of additions is the same in every run."""

    @staticmethod
    def forward(values: Tensor, _of_channel: Tensor, channels: Tensor) -> Tensor:
        squares = torch.nn.functional.pad(values.square(), (0, 1))
        return squares[:, channels].sum(dim=2).sqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """d||v|| / dv = v / ||v||, and the subgradient 0 at v = 0."""
        values, of_channel, norms = ctx.saved_tensors
        scale = torch.where(norms > 0, grads[0] / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0.0)
        return values * scale[:, of_channel], None, None
