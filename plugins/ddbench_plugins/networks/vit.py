"""GLaD's small vision transformer: pre-norm, class token, learned positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork
from ddbench.networks.fit import token_patch

if TYPE_CHECKING:
    from ddbench import NetworkSpec

DIM, HEADS, MLP, DROPOUT = 512, 8, 512, 0.1


def fit_vit(shape: tuple[int, int, int]) -> dict[str, object]:
    """Return patch and depth: 16 and 10 from 64 pixels on, 4 and 6 at 28 and 32 (GLaD); patch 2 at 8 (ours).

    Raises:
        UnfitNetwork: The patch does not divide the image.
    """
    large = min(shape[1:]) >= 64
    patch = 16 if large else token_patch(shape, 4)
    if shape[1] % patch or shape[2] % patch:
        raise UnfitNetwork(f"its patches of {patch}×{patch} do not divide them")
    return {"patch": patch, "depth": 10 if large else 6}


def build_vit(spec: NetworkSpec) -> nn.Module:
    """Return the transformer, 512 wide with 8 heads."""
    return VisionTransformer(spec)


class VisionTransformer(nn.Module):
    """Patches, a class token, blocks of attention and MLP, one linear layer on the class token."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        patch, depth = int(str(spec.fitting["patch"])), int(str(spec.fitting["depth"]))
        tokens = (spec.shape[1] // patch) * (spec.shape[2] // patch)
        self.patches = nn.Conv2d(spec.shape[0], DIM, patch, patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, DIM))
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.norm = nn.LayerNorm(DIM)
        self.classifier = nn.Linear(DIM, spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), tokens], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        logits: Tensor = self.classifier(self.norm(tokens[:, 0]))
        return logits


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.to_qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.out = nn.Sequential(nn.Linear(DIM, DIM), nn.Dropout(DROPOUT))
        hidden = [nn.Linear(DIM, MLP), nn.GELU(), nn.Dropout(DROPOUT)]
        self.mlp = nn.Sequential(nn.LayerNorm(DIM), *hidden, nn.Linear(MLP, DIM), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_qkv(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=DROPOUT if self.training else 0.0)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        change: Tensor = self.mlp(x)
        return x + change
