from __future__ import annotations

import pytest
from pydantic import Field

from ddbench.errors import BadOption, PluginFailed
from ddbench.options import Layer, Options, parse_assignments, read_presets, resolve


class Some(Options):
    rho: float = Field(0.015, ge=0, le=1, description="Radius.")
    steps: int = Field(12, ge=1, description="Steps.")
    init: str = Field("real", description="Start.")
    roll: tuple[int, int] = Field((0, 4), description="Offsets.")


def test_a_later_layer_wins_and_every_value_names_its_source():
    layers = [Layer("preset cifar10", {"rho": 0.02, "steps": 3}, {"rho": "paper, table 1"}), Layer("command line", {"steps": "5"})]
    resolved = resolve(Some, layers, owner="synthesizer 'x'")
    assert resolved.dump() == {"rho": 0.02, "steps": 5, "init": "real", "roll": [0, 4]}
    assert resolved.sources == {
        "rho": "preset cifar10: paper, table 1",
        "steps": "command line",
        "init": "default",
        "roll": "default",
    }


def test_text_of_a_command_line_becomes_what_the_field_expects():
    layers = [Layer("command line", {"rho": "1e-2", "roll": "[-2, 2]", "init": "3"})]
    assert resolve(Some, layers, owner="x").dump() == {"rho": 0.01, "steps": 12, "init": "3", "roll": [-2, 2]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rhoo": "1"}, "no option 'rhoo' (from command line). Did you mean 'rho'?"),
        ({"rho": "7"}, "option 'rho': input should be less than or equal to 1; given 7"),
        ({"steps": "many"}, "option 'steps': input should be a valid integer"),
    ],
)
def test_a_bad_option_is_one_sentence_with_the_way_out(values, said):
    with pytest.raises(BadOption) as caught:
        resolve(Some, [Layer("command line", values)], owner="synthesizer 'x'")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["rho", "=1", " =1"])
def test_an_assignment_without_name_or_value_is_refused(text):
    with pytest.raises(BadOption):
        parse_assignments([text])


def test_an_option_given_twice_is_refused():
    with pytest.raises(BadOption, match="twice"):
        parse_assignments(["a=1", "a=2"])


def test_a_preset_keeps_a_reference_for_each_number(tmp_path):
    (tmp_path / "cifar10.toml").write_text('network = "resnet18"\n[options]\nrho = { value = 0.5, source = "ours" }\n')
    preset = read_presets(tmp_path)["cifar10"]
    assert (preset.layer.values, preset.layer.notes, preset.network) == ({"rho": 0.5}, {"rho": "ours"}, "resnet18")


def test_a_preset_number_without_a_source_is_refused(tmp_path):
    (tmp_path / "bad.toml").write_text("[options]\nrho = { value = 0.5 }\n")
    with pytest.raises(PluginFailed, match="source"):
        read_presets(tmp_path)
