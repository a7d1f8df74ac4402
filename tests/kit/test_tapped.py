from __future__ import annotations

import gc

import pytest
import timm
import torch
import torchvision
from plain.recover import Hooked
from torch import nn

from ddbench import Precision
from ddbench.errors import BadRequest
from ddbench.kit import TappedTeacher, tapped, tapped_teacher
from ddbench.kit.residual import join_sums
from ddbench.kit.tapped import Tap
from ddbench.training import native

SHAPE = (3, 8, 8)


def drawn(count: int, side: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_taps_change_no_logit(teacher):
    images = drawn(6)
    logits, _ = TappedTeacher(teacher, SHAPE)(images, 2)
    assert torch.equal(logits, teacher(images))


def test_distances_are_those_that_hooks_see_group_by_group(teacher):
    images = drawn(6)
    _, norms = TappedTeacher(teacher, SHAPE)(images, 2)
    hooked = Hooked(teacher)
    for group in range(2):
        teacher(images[3 * group : 3 * group + 3])
        expected = torch.tensor([[float(hooked.distances[layer][kind]) for layer in hooked.layers] for kind in (0, 1)])
        assert torch.allclose(norms[group], expected.double(), atol=1e-6)


def test_gradients_agree_with_those_through_hooks(teacher):
    images = drawn(4).requires_grad_()
    logits, norms = TappedTeacher(teacher, SHAPE)(images, 1)
    (fast,) = torch.autograd.grad(logits.square().sum() + norms[:, 0].sum() + 3 * norms[:, 1].sum(), images)
    hooked = Hooked(teacher)
    (plain,) = torch.autograd.grad(teacher(images).square().sum() + hooked.term(1.0, 3.0), images)
    assert torch.allclose(fast, plain, rtol=1e-10, atol=1e-10)


def test_layers_stand_in_module_order_whatever_order_they_run_in(teacher):
    names = [name for name, part in teacher.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert list(TappedTeacher(teacher, SHAPE).layer_names) == names


def test_the_teacher_is_left_alone(teacher):
    state = {name: values.clone() for name, values in teacher.state_dict().items()}
    tapped = TappedTeacher(teacher, SHAPE)
    tapped.load({name: torch.zeros_like(values) for name, values in teacher.named_parameters()})
    tapped(drawn(2), 1)
    assert all(torch.equal(values, state[name]) for name, values in teacher.state_dict().items())
    assert not any(part._forward_hooks for part in teacher.modules())


def test_moved_weights_come_back_bit_for_bit(teacher):
    tapped = TappedTeacher(teacher, SHAPE)
    images = drawn(2)
    before = tapped(images, 1)
    tapped.load({name: values + 0.1 for name, values in teacher.named_parameters()})
    assert not torch.allclose(tapped(images, 1)[0], before[0])
    tapped.restore()
    assert all(torch.equal(one, other) for one, other in zip(tapped(images, 1), before, strict=True))


def test_moved_weights_are_compared_with_the_teachers_own_statistics(teacher):
    tapped = TappedTeacher(teacher, SHAPE)
    targets = tapped.targets.clone()
    tapped.load({name: values * 2 for name, values in teacher.named_parameters()})
    assert torch.equal(tapped.targets, targets)


def test_batch_norm_with_its_own_activation_keeps_it():
    network = timm.create_model("resnetv2_18d", num_classes=4).double().eval()
    images = drawn(2, 32)
    tapped = TappedTeacher(network, (3, 32, 32))
    assert len(tapped.layer_names) > 0
    assert torch.allclose(tapped(images, 1)[0], network(images), atol=1e-12)


class HasSpare(nn.Module):
    """A layer that no image reaches in eval mode stands between two that are used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spare, self.last = nn.BatchNorm2d(3), nn.BatchNorm2d(5), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(images)).flatten(1)


def test_layers_that_no_image_reaches_are_left_out():
    tapped = TappedTeacher(HasSpare().double().eval(), SHAPE)
    assert tapped.layer_names == ("first", "last")
    assert tapped(drawn(2), 1)[1].shape == (1, 2, 2)


def test_a_teacher_without_batch_norm_is_refused_with_advice():
    with pytest.raises(BadRequest, match=r"Sequential has no batch norm layer.*--teacher convnet3-bn or resnet18"):
        TappedTeacher(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), SHAPE)


def test_batch_norm_without_running_statistics_is_refused():
    with pytest.raises(BadRequest, match="'0' of the teacher keeps no running statistics"):
        TappedTeacher(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), SHAPE)


def test_one_copy_serves_every_group_of_jobs_and_starts_from_the_teachers_weights(teacher):
    first = tapped_teacher(teacher, SHAPE, Precision())
    first.load({name: values + 1 for name, values in teacher.named_parameters()})
    second = tapped_teacher(teacher, SHAPE, Precision())
    assert second is first
    assert all(torch.equal(values, second.moved[name]) for name, values in teacher.named_parameters())


def test_a_copy_goes_with_its_teacher():
    import weakref

    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    copy = weakref.ref(tapped_teacher(network, SHAPE, Precision()))
    del network
    gc.collect()
    assert copy() is None


def test_weights_are_rounded_for_computing_and_kept_whole_for_moving(teacher):
    tapped = TappedTeacher(teacher.float(), SHAPE, Precision("bf16"))
    moved = {name: values * 1.001 for name, values in teacher.named_parameters()}
    tapped.load(moved)
    assert all(torch.equal(values, moved[name]) for name, values in tapped.moved.items())
    held = dict(tapped.network.named_parameters())
    assert torch.equal(held["stem.weight"], moved["stem.weight"].bfloat16())
    assert torch.equal(held["norm.norm.weight"], moved["norm.weight"])


def test_rounding_weights_once_is_what_autocast_does_in_every_step(teacher):
    images = drawn(8).float()
    tapped = TappedTeacher(teacher.float(), SHAPE, Precision("bf16"))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tapped(images, 2)[0], teacher(images).float())


def test_bfloat16_stays_near_float64_and_returns_float32(teacher):
    images = drawn(8).float()
    logits, norms = TappedTeacher(teacher.float(), SHAPE, Precision("bf16", channels_last=True))(images, 2)
    exact_logits, exact_norms = TappedTeacher(teacher.double(), SHAPE)(images.double(), 2)
    assert logits.dtype == norms.dtype == torch.float32
    assert torch.allclose(logits.double(), exact_logits, atol=0.05)
    assert torch.allclose(norms.double(), exact_norms, atol=0.05)


NATIVE = Precision(channels_last=True, native=True)
natively = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")


class Block(nn.Module):
    """Two norms and one rectifier that serves both, as torchvision's residual block has them; what `wired` leaves out is odd."""

    def __init__(self, wired: str = "usual") -> None:
        super().__init__()
        self.wired = wired
        self.first, self.second = (nn.Conv2d(*channels, 3, padding=1) for channels in ((3, 16), (16, 16)))
        self.norm, self.last, self.relu = nn.BatchNorm2d(16), nn.BatchNorm2d(16), nn.ReLU(inplace=wired != "twice")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = self.first(images)
        shortcut = images
        given = self.norm(images)
        images = self.last(self.second(self.relu(given)))
        images += given if self.wired == "twice" else shortcut
        return self.relu(images).mean((2, 3))


def odd_norms(network):
    """Make norms differ from the identity, so that much is negative and much is not."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.3)
            part.running_var.uniform_(0.2, 2, generator=torch.Generator().manual_seed(4))
    return network.double().eval()


def told(network, images, precision):
    images = images.detach().requires_grad_()
    tapped = TappedTeacher(network, tuple(images.shape[1:]), precision)
    logits, norms = tapped(images, 2)
    (gradient,) = torch.autograd.grad(logits.square().sum() + norms[:, 0].sum() + 3 * norms[:, 1].sum(), images)
    rectifying = [name for name, part in tapped.network.named_modules() if isinstance(part, Tap) and part.rectifies]
    return rectifying, (logits, norms, gradient)


@pytest.fixture
def sums(monkeypatch):
    """How many sums each network's taps have taken."""
    counts = []
    monkeypatch.setattr(tapped, "join_sums", lambda *given: counts.append(join_sums(*given)))
    return counts


@natively
@pytest.mark.parametrize(("wired", "expected"), [("usual", ["norm"]), ("twice", [])])
def test_a_norm_rectifies_at_once_where_nothing_else_takes_what_it_gives(wired, expected, sums):
    network, images = odd_norms(Block(wired)), drawn(6)
    rectifying, found = told(network, images, NATIVE)
    assert rectifying == expected
    assert sums == [1]
    plainly, exact = told(network, images, Precision())
    assert plainly == []
    assert sums == [1]  # torch's layers stay as they are
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@natively
@pytest.mark.parametrize("made", [timm.create_model, torchvision.models.get_model], ids=["timm", "torchvision"])
def test_a_resnets_norms_rectify_and_add_at_once_and_its_gradients_stay(made, sums):
    network = odd_norms(made("resnet18", num_classes=4))
    images = drawn(4, 32)
    rectifying, found = told(network, images, NATIVE)
    assert rectifying == ["bn1", *(f"layer{stage}.{block}.bn1" for stage in range(1, 5) for block in range(2))]
    assert sums == [8]
    for one, other in zip(found, told(network, images, Precision())[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@natively
def test_what_a_hook_makes_of_a_norms_answer_stays():
    network, images = odd_norms(Block()), drawn(6)
    network.norm.register_forward_hook(lambda layer, given, found: found * 2)
    _, found = told(network, images, NATIVE)
    torch.testing.assert_close(found[0], network(images), rtol=1e-10, atol=1e-10)
    for one, other in zip(found, told(network, images, Precision())[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@natively
def test_native_layers_in_bf16_stay_near_float64():
    network, images = odd_norms(Block()), drawn(8, 16)
    _, exact = told(network, images, Precision())
    _, found = told(network.float(), images.float(), Precision("bf16", channels_last=True, native=True))
    assert all(tensor.dtype == torch.float32 for tensor in found)
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).detach().norm() / other.detach().norm()) < 0.05
