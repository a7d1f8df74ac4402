"""Networks: finding one by name, fitting it to an image size, building it from a seed. No architecture is named here."""

from __future__ import annotations

from ddbench.networks.build import build, count_parameters
from ddbench.networks.resolve import resolve

__all__ = ["build", "count_parameters", "resolve"]
