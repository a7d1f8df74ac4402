"""What `ddbench list` tells of a method's parts and of a prior's spaces."""

from __future__ import annotations

from pydantic import Field

from ddbench import Need, NoOptions, Options, Prior, Synthesizer, Use
from ddbench.cli import parts
from ddbench.errors import PriorMismatch
from ddbench.testing.bench import ToyPlugins


class Count(Options):
    """One option."""

    count: int = Field(default=3, description="How many.")


class Compared:
    """An objective that needs experts of the network it is told."""

    name, version, options = "compared", 1, Count

    def needs(self, o, facts):
        return {"experts": Need("experts", "convnet3", {"epochs": o.count})}


class Walker(Synthesizer):
    """A method with an objective, a prior and a teacher."""

    name, version, options = "walker", 1, NoOptions

    def uses(self, o):
        return {"objective": Use("compared", {"count": 5}), "selector": Use("nobody's")}

    def needs(self, o, facts):
        return {"prior": Need("prior", "small"), "teacher": Need("teacher"), "judge": Need("teacher", "resnet18")}


class Small(Prior):
    """A prior of small images."""

    name, version, options, licence, external_data, gated = "small", 1, NoOptions, "none", False, False

    def spaces(self, o, facts):
        if facts.shape[1] > 32:
            raise PriorMismatch("images above 32 pixels are too large")
        return ("w", "pixel")


PLUGINS = ToyPlugins([("synthesizer", Walker()), ("objective", Compared()), ("prior", Small())])


def rows():
    return {row["role"]: row for row in parts.works_with(PLUGINS.get("synthesizer", "walker"), PLUGINS)}


def test_parts_and_needs_are_told_with_what_is_asked_of_them():
    found = {role: (row["kind"], row["name"], row["options"]) for role, row in rows().items()}
    assert found == {
        "objective": ("objective", "compared", {"count": 5}),
        "selector": ("selector", "nobody's", {}),
        "prior": ("prior", "small", {}),
        "teacher": ("teacher", "the run's teacher", {}),
        "judge": ("teacher", "resnet18", {}),
        "experts": ("experts", "convnet3", {"epochs": 5}),
    }


def test_each_says_how_its_options_are_set_and_where_they_are_listed():
    told = {row[0]: row[3] for row in parts.lines(list(rows().values()))}
    assert told["objective"] == "-o objective.NAME=VALUE; ddbench list objectives compared"
    assert told["prior"] == "-o prior.NAME=VALUE; ddbench list priors small"
    assert told["judge"] == "-o judge.NAME=VALUE; ddbench list teachers scratch"
    assert told["experts"] == "-o experts.NAME=VALUE"


def test_options_of_experts_are_told_where_they_are_needed():
    assert {"count", "epochs", "lr"} <= {option["name"] for option in rows()["experts"]["takes"]}


def test_a_priors_spaces_are_told_by_image_size_and_so_is_why_there_are_none():
    found = parts.spaces(PLUGINS.get("prior", "small"))
    assert found["spaces at 32×32"] == "w, pixel"
    assert found["spaces at 64×64"] == "none: images above 32 pixels are too large"
