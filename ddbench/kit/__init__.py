"""Building blocks for plugins: what two methods share, and what a third may use."""

from __future__ import annotations

from ddbench.kit.descent import RecoverState, Start
from ddbench.kit.draw import draw_real, refuse_small_classes
from ddbench.kit.features import Embedder, features
from ddbench.kit.jobs import Starts, recover_jobs, stacked_jobs
from ddbench.kit.latents import IdentityPrior, known_spaces, pull_back, rendered, rendered_unit
from ddbench.kit.pixels import Pixels
from ddbench.kit.recover import RecoverRecipe, recover
from ddbench.kit.statistics import Segments, group_statistics, segment_norms
from ddbench.kit.tapped import TappedTeacher, tapped_teacher
from ddbench.kit.views import ViewRule, apply_views, draw_views, views_of
from ddbench.kit.walk import Leg, Walked, WalkRecipe, walk

__all__ = [
    "Embedder",
    "IdentityPrior",
    "Leg",
    "Pixels",
    "RecoverRecipe",
    "RecoverState",
    "Segments",
    "Start",
    "Starts",
    "TappedTeacher",
    "ViewRule",
    "WalkRecipe",
    "Walked",
    "apply_views",
    "draw_real",
    "draw_views",
    "features",
    "group_statistics",
    "known_spaces",
    "pull_back",
    "recover",
    "recover_jobs",
    "refuse_small_classes",
    "rendered",
    "rendered_unit",
    "segment_norms",
    "stacked_jobs",
    "tapped_teacher",
    "views_of",
    "walk",
]
