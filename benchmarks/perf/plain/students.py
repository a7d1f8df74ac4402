"""Students trained the way the papers' released code trains them: eagerly, in float32, image by image through PIL.

Under soft labels as the CIFAR scripts of SRe2L and DWA do: every image decoded, cropped, flipped and normalised by itself, one
mixup per batch, a teacher whose graph is built and then dropped, the loss read after every step, a test every tenth epoch. Under
hard labels as the family of Dataset Condensation does: a batch of tensors, DSA with one group a batch and parameters of its own
for every image. What is drawn and what is computed are apart, so that the same draws can be given to the fast path: this is also
its numerical reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.transforms import functional as tv

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

PAD = 4
WORKERS = 0
"""Loader processes, unless asked for; the released scripts start `RELEASED_WORKERS` anew in every epoch."""

RELEASED_WORKERS = 2

TEST_EVERY = 10
"""Epochs from one test to the next."""

TEST_BATCH = 100

Batches = Iterable[Sequence["Tensor"]]


@dataclass(frozen=True)
class Pixels:
    """A set as it lies on disk, and how a network sees it."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


class PilImages(Dataset[tuple["Tensor", int]]):
    """Images decoded to PIL and transformed one at a time, as torchvision's CIFAR dataset hands them out."""

    def __init__(self, pixels: Pixels, transform: Callable[[Image.Image], Tensor]) -> None:
        self.arrays = pixels.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = pixels.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def train_batches(pixels: Pixels, *, batch: int, workers: int = WORKERS) -> Batches:
    """Return an epoch's shuffled batches, each image cropped out of a black border, flipped and normalised."""
    size = tuple(pixels.images.shape[2:])
    steps = [transforms.RandomCrop(size, padding=PAD), transforms.RandomHorizontalFlip(), *_to_tensor(pixels)]
    return DataLoader(PilImages(pixels, transforms.Compose(steps)), batch_size=batch, shuffle=True, num_workers=workers)


def eval_batches(pixels: Pixels, *, workers: int = WORKERS) -> Batches:
    """Return the batches of a test, in order, only normalised."""
    return DataLoader(PilImages(pixels, transforms.Compose(_to_tensor(pixels))), batch_size=TEST_BATCH, num_workers=workers)


@dataclass(frozen=True)
class OnDevice:
    """Batches that are moved to a device one by one, the host waiting for each, as the released loops do."""

    batches: Batches
    device: torch.device

    def __iter__(self) -> Iterator[Sequence[Tensor]]:
        for batch in self.batches:
            yield [tensor.to(self.device) for tensor in batch]


def viewed(pixels: Pixels, index: int, *, offset: tuple[int, int], flipped: bool) -> Tensor:
    """Return float32 (C, H, W): one image after a crop and a flip that were drawn elsewhere."""
    image = tv.pad(Image.fromarray(pixels.images[index].permute(1, 2, 0).contiguous().numpy()), [PAD])
    image = tv.crop(image, *offset, *pixels.images.shape[2:])
    return transforms.Compose(_to_tensor(pixels))(tv.hflip(image) if flipped else image)


def soft_epoch(
    networks: tuple[nn.Module, nn.Module], optimiser: Optimizer, batches: Batches, *, temperature: float, alpha: float
) -> float:
    """Train the first of two networks for an epoch on the answers of the second, and return its mean loss."""
    student, teacher = networks
    losses, right = [], 0
    for images, labels in batches:
        partner = torch.randperm(len(images))
        mixed = mixup(images, partner, float(np.random.default_rng().beta(alpha, alpha)))
        logits = student(mixed)
        losses.append(step(optimiser, distilled(logits, teacher(mixed).detach(), temperature)))
        right += int((logits.argmax(dim=1) == labels).sum().item())
    return sum(losses) / len(losses)


def hard_epoch(network: nn.Module, optimiser: Optimizer, batches: Batches, *, strategy: str) -> float:
    """Train a network for an epoch on labels under DSA, and return its mean loss."""
    losses, right = [], 0
    for images, labels in batches:
        groups = strategy.split("_")
        group = groups[int(torch.randint(len(groups), (1,)).item())]
        logits = network(dsa(images, group, torch.rand(len(images), 3, device=images.device)))
        losses.append(step(optimiser, F.cross_entropy(logits, labels)))
        right += int(np.equal(logits.detach().cpu().numpy().argmax(axis=-1), labels.cpu().numpy()).sum())
    return sum(losses) / len(losses)


def tensor_batches(images: Tensor, labels: Tensor, *, batch: int) -> Batches:
    """Return an epoch's shuffled batches of normalised tensors, collected image by image."""
    return DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True)


def tested(network: nn.Module, batches: Batches) -> float:
    """Return the fraction of test images that a network gets right."""
    network.eval()
    right = seen = 0
    with torch.no_grad():
        for images, labels in batches:
            right += int((network(images).argmax(dim=1) == labels).sum().item())
            seen += len(labels)
    network.train()
    return right / seen


def tests_of(epochs: int) -> int:
    """Return how often a student of so many epochs is tested: every tenth epoch, and after the last."""
    return len({*range(0, epochs, TEST_EVERY), epochs - 1})


def step(optimiser: Optimizer, loss: Tensor) -> float:
    """Make one step on a loss and return its value."""
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()
    return float(loss.item())


def mixup(images: Tensor, partner: Tensor, coefficient: float) -> Tensor:
    """Return c x + (1 - c) x[partner]."""
    return coefficient * images + (1.0 - coefficient) * images[partner]


def distilled(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(teacher / T) || softmax(logits / T)), the mean over the batch, not multiplied by T squared."""
    target = F.softmax(teacher / temperature, dim=1)
    return F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="batchmean")


def dsa(images: Tensor, group: str, uniform: Tensor) -> Tensor:
    """Return a batch after one group of DSA, its parameters read from (N, 3) uniform draws; affine maps as lists of numbers."""
    return GROUPS[group](images, uniform)


def _color(x: Tensor, u: Tensor) -> Tensor:
    u = u.to(x.dtype).view(len(x), 3, 1, 1, 1)
    x = x + (u[:, 0] - 0.5)
    mean = x.mean(dim=1, keepdim=True)
    x = (x - mean) * (u[:, 1] * 2) + mean
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return (x - mean) * (u[:, 2] + 0.5) + mean


def _crop(x: Tensor, u: Tensor) -> Tensor:
    """Shift each image by whole pixels of up to an eighth of its side; what lies outside is read from a border of one pixel."""
    read = []
    for axis, side in enumerate(x.shape[2:]):
        reach = int(side * 0.125 + 0.5)
        shift = (u[:, axis] * (2 * reach + 1)).long() - reach
        read.append((shift[:, None] + torch.arange(side, device=x.device)).clamp(-1, side) + 1)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return F.pad(x, [1, 1, 1, 1])[image, :, read[0][:, :, None], read[1][:, None, :]].permute(0, 3, 1, 2)


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """Black out a square of half the side; what of it leaves the image is squeezed onto the border."""
    black = []
    for axis, side in enumerate(x.shape[2:]):
        hole = int(side * 0.5 + 0.5)
        start = (u[:, axis] * (side + (1 - hole % 2))).long() - hole // 2
        black.append((start[:, None] + torch.arange(hole, device=x.device)).clamp(0, side - 1))
    mask = torch.ones(len(x), *x.shape[2:], dtype=x.dtype, device=x.device)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    mask[image, black[0][:, :, None], black[1][:, None, :]] = 0
    return x * mask[:, None]


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(u[:, 0].view(-1, 1, 1, 1) < 0.5, x.flip(3), x)


def _scale(x: Tensor, u: Tensor) -> Tensor:
    low = 1 / 1.2
    factors = [(low + a * (1.2 - low), low + b * (1.2 - low)) for a, b, _ in u.tolist()]
    return _warped(x, [[[a, 0.0, 0.0], [0.0, b, 0.0]] for a, b in factors])


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    angles = [(a - 0.5) * 2 * 15 / 180 * math.pi for a, _, _ in u.tolist()]
    return _warped(x, [[[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]] for a in angles])


def _warped(x: Tensor, theta: list[list[list[float]]]) -> Tensor:
    grid = F.affine_grid(torch.tensor(theta, dtype=x.dtype, device=x.device), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


GROUPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}


def _to_tensor(pixels: Pixels) -> list[Callable[..., Tensor]]:
    return [transforms.ToTensor(), transforms.Normalize(pixels.mean, pixels.std)]
