"""Instance norm on a CPU, with the rectifier and the 2×2 average pooling that may follow it, in one pass over each image.

Wu & He, 2018 (arXiv:1803.08494), with one group a channel. The arithmetic is in `norms.c`. Torch's three layers read and
write an activation a dozen times, forward and backward; here it is read from memory twice and written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ddbench.training.norms import After, native_norms, rooms, shape_of

if TYPE_CHECKING:
    from torch import Tensor


def normed(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
    """Return (N, C, H, W), or half the sides, in channels-last: images normed channel by channel, and what follows.

    Args:
        images: float32 or float64 (N, C, H, W), as `norms.suits` has them.
        weight: (C,), of the affine map.
        bias: (C,)
        after: What follows.
    """
    found: Tensor = _Normed.apply(images, weight, bias, after)
    return found


def plainly(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
    """Return the same by torch's own layers."""
    return after.plainly(F.group_norm(images, len(weight), weight, bias, after.eps))


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
        outputs, mean, scale = _forward(images, weight, bias, after)
        ctx.save_for_backward(images, weight, bias, mean, scale)
        ctx.after = after
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """With s = 1 / sqrt(var + eps): dL/dx = w s (g - mean(g) - (x - mean) s mean(g (x - mean) s)), channel by channel."""
        images, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of gradients are asked for
            inputs = [tensor for tensor, asked in zip((images, weight, bias), ctx.needs_input_grad, strict=False) if asked]
            found = iter(torch.autograd.grad(plainly(images, weight, bias, ctx.after), inputs, grads, create_graph=True))
            of_images, of_weight, of_bias = (next(found) if asked else None for asked in ctx.needs_input_grad[:3])
            return of_images, of_weight, of_bias, None
        of_images, of_weight, of_bias = _backward((images, weight, bias), (mean, scale), grads[0], ctx.after)
        return of_images, of_weight.sum(0), of_bias.sum(0), None


def _forward(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> tuple[Tensor, Tensor, Tensor]:
    native, outputs = native_norms(images.dtype), after.empty(images)
    mean, scale = images.new_empty((2, *images.shape[:2]))
    room, threads = rooms(images)
    weight, bias = weight.contiguous(), bias.contiguous()
    native.instance_forward(
        *(tensor.data_ptr() for tensor in (images, weight, bias)),
        after.eps,
        *(tensor.data_ptr() for tensor in (outputs, mean, scale)),
        shape_of(images),
        int(after.rectify),
        int(after.halve),
        room.data_ptr(),
        threads,
    )
    return outputs, mean, scale


def _backward(
    inputs: tuple[Tensor, Tensor, Tensor], moments: tuple[Tensor, Tensor], gradient: Tensor, after: After
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images, and of weight and bias image by image (N, C)."""
    inputs = (inputs[0], inputs[1].contiguous(), inputs[2].contiguous())
    images, _, _ = inputs
    native, (count, channels) = native_norms(images.dtype), images.shape[:2]
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    of_images = torch.empty_like(images, memory_format=torch.channels_last)
    of_weight, of_bias = images.new_empty((2, count, channels))
    room, threads = rooms(images)
    native.instance_backward(
        *(tensor.data_ptr() for tensor in (*inputs, *moments, gradient, of_images, of_weight, of_bias)),
        shape_of(images),
        int(after.rectify),
        int(after.halve),
        room.data_ptr(),
        threads,
    )
    return of_images, of_weight, of_bias
