"""Batch norm on a CPU, with the rectifier and the 2×2 average pooling that may follow it.

Ioffe & Szegedy, 2015 (arXiv:1502.03167). The arithmetic is in `norms.c`. What a batch has in common stands between two passes:
its moments and its outputs, or the sums of its gradients and these themselves. Torch's three layers read and write an activation
six times forward and ten times backward; here it is twice and three times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F

from ddbench.training import norms
from ddbench.training.norms import After, native_norms, shape_of

if TYPE_CHECKING:
    from torch import Tensor, nn


def suits(layer: nn.BatchNorm2d, images: Tensor) -> bool:
    """Return whether a layer norms images here: affine, more than one value a channel, and no gradients where it is frozen."""
    affine = layer.weight is not None and layer.bias is not None
    if not affine or layer.momentum is None or not norms.suits(images, layer.weight) or images[:, 0].numel() == 1:
        return False
    asked = images.requires_grad or layer.weight.requires_grad or layer.bias.requires_grad
    of_batch = layer.training or layer.running_mean is None
    return of_batch or not (asked and torch.is_grad_enabled())


def followed(layer: nn.BatchNorm2d, images: Tensor, after: After) -> Tensor:
    """Return (N, C, H, W), or half the sides, in channels-last: what a layer gives, and what follows; its buffers move too.

    Args:
        layer: It `suits` the images.
        images: float32 or float64 (N, C, H, W).
        after: What follows.
    """
    running, spread = layer.running_mean, layer.running_var
    if running is not None and spread is not None and not layer.training:
        slope = layer.weight * torch.rsqrt(spread + after.eps)
        return _affine(images, slope, layer.bias - running * slope, after)
    found, mean, variance = normed(images, layer.weight, layer.bias, after)
    if running is not None and spread is not None and layer.track_running_stats:
        count, momentum = images[:, 0].numel(), layer.momentum or 0.0
        with torch.no_grad():  # as torch moves them, the variance by its unbiased estimate
            cast("Tensor", layer.num_batches_tracked).add_(1)
            running.lerp_(mean, momentum)
            spread.lerp_(variance * (count / (count - 1)), momentum)
    return found


def normed(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> tuple[Tensor, Tensor, Tensor]:
    """Return images normed with the batch's own moments, and what follows; and those moments without gradient.

    Moments are mean and biased variance (C,).

    Args:
        images: float32 or float64 (N, C, H, W), as `norms.suits` has them.
        weight: (C,), of the affine map.
        bias: (C,)
        after: What follows.
    """
    found, mean, variance = _Normed.apply(images, weight, bias, after)
    return found, mean, variance


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, after: After) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _moments(images)
        scale = torch.rsqrt(variance + after.eps)
        slope = weight * scale
        ctx.save_for_backward(images, weight, bias, mean, scale)
        ctx.after = after
        ctx.mark_non_differentiable(mean, variance)
        return _affine(images, slope, bias - mean * slope, after), mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """With s = 1 / sqrt(var + eps): dL/dx = w s (g - mean(g) - (x - mean) s mean(g (x - mean) s)), over the batch."""
        images, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of gradients are asked for
            inputs = [tensor for tensor, asked in zip((images, weight, bias), ctx.needs_input_grad, strict=False) if asked]
            plain = ctx.after.plainly(F.batch_norm(images, None, None, weight, bias, training=True, eps=ctx.after.eps))
            found = iter(torch.autograd.grad(plain, inputs, grads[0], create_graph=True))
            of_images, of_weight, of_bias = (next(found) if asked else None for asked in ctx.needs_input_grad[:3])
            return of_images, of_weight, of_bias, None
        return *_backward(images, grads[0], (mean, scale, weight, bias), ctx.after), None


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    means, variances = images.new_empty((2, *images.shape[:2]))
    native_norms(images.dtype).batch_moments(*_pointers(images, means, variances), shape_of(images), torch.get_num_threads())
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def _affine(images: Tensor, slope: Tensor, offset: Tensor, after: After) -> Tensor:
    outputs = after.empty(images)
    native_norms(images.dtype).batch_forward(
        *_pointers(images, slope, offset, outputs),
        shape_of(images),
        int(after.rectify),
        int(after.halve),
        torch.get_num_threads(),
    )
    return outputs


def _backward(images: Tensor, gradient: Tensor, kept: tuple[Tensor, ...], after: After) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images, weight and bias."""
    mean, scale, weight, bias = kept
    native, count = native_norms(images.dtype), images[:, 0].numel()
    slope = weight * scale
    given = (images, gradient.contiguous(memory_format=torch.channels_last), mean, slope, bias - mean * slope)
    each, each_along = images.new_empty((2, *images.shape[:2]))
    follows, threads = (shape_of(images), int(after.rectify), int(after.halve)), torch.get_num_threads()
    native.batch_sums(*_pointers(*given, each, each_along), *follows, threads)
    whole, along = each.sum(0), each_along.sum(0)
    level, slant = slope * whole / count, slope * scale.square() * along / count
    of_images = torch.empty_like(images, memory_format=torch.channels_last)
    native.batch_backward(*_pointers(*given, level, slant, of_images), *follows, threads)
    return of_images, along * scale, whole


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
