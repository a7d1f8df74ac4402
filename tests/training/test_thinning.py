"""What a convolution of one pixel with strides reads, and where its gradient goes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ddbench.training.thinning import thinned

SLICED = [(1, 1), (2, 2), (2, 1), (3, 2)]


def images(layout: torch.memory_format) -> Tensor:
    drawn = torch.randn(3, 4, 7, 6, generator=torch.Generator().manual_seed(0))
    return drawn.to(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("strides", SLICED)
def test_pixels_and_gradients_are_slicings_in_the_layout_of_the_images(strides, layout):
    ours, torchs = images(layout), images(layout)
    found, sliced = thinned(ours, strides), torchs[..., :: strides[0], :: strides[1]].bfloat16()
    assert torch.equal(found, sliced)
    assert found.is_contiguous(memory_format=layout)

    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    (gradient,), (expected,) = (torch.autograd.grad((out * weight).sum(), leaf) for out, leaf in ((found, ours), (sliced, torchs)))
    assert torch.equal(gradient, expected)
    assert gradient.is_contiguous(memory_format=layout)


def test_gradients_of_gradients_are_those_of_slicing():
    ours, torchs = images(torch.channels_last), images(torch.channels_last)
    seconds = []
    for leaf, out in ((ours, thinned(ours, (2, 2))), (torchs, torchs[..., ::2, ::2].bfloat16())):
        (first,) = torch.autograd.grad(out.float().pow(3).sum(), leaf, create_graph=True)
        seconds.append(torch.autograd.grad(first.pow(2).sum(), leaf)[0])
    assert_close(*seconds)
    assert seconds[0].abs().sum() > 0
