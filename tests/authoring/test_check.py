"""`ddbench plugin check` passes what is sound, and finds every planted fault by the check of its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddbench import testing
from ddbench.authoring.check import Wanted, check
from ddbench.cli.app import app
from ddbench.cli.plugin import report
from ddbench.errors import BadOption, BadRequest, NameClash, UnknownName
from ddbench.plugins import Plugins
from ddbench.testing.checking import KITS, sentence
from plugin_faults import FAULTS, SOUND, instead


@pytest.fixture
def checked(tmp_path):
    """Return a function from a plugin file's text to what the checks come to."""

    def run(text, **wanted):
        (tmp_path / "mine.py").write_text(text)
        return check(Wanted("mine", **wanted), Plugins(("mine",), folders=[tmp_path]))

    return run


def problems(found):
    return [one for one in found if one.status == "problem"]


def test_a_sound_plugin_has_no_problem_and_every_check_is_named(checked):
    found = checked(SOUND)
    assert problems(found) == []
    kit = [sentence(name) for name in vars(testing.SynthesizerConformance) if name.startswith("test_")]
    assert {one.check.partition(" (")[0] for one in found} >= set(kit)
    assert {one.check for one in found if one.status == "skipped"} == {
        "its presets can be read and are within bounds",
        "a smaller set is a prefix of a larger one where promised",
    }


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.found_by])
def test_a_planted_fault_is_found_by_its_check_with_what_to_do(checked, fault):
    planted = FAULTS[fault]
    slow = {"limit_s": "0.5"} if planted.told == "s are allowed" else {}
    found = problems(checked(planted.text, declared=slow, only=planted.found_by))
    assert any(planted.told in one.message for one in found), [one.message for one in found]
    assert all(one.advice for one in found)


def test_a_planted_fault_tells_the_line_of_the_plugin_that_took_part(checked):
    (found,) = problems(checked(FAULTS["opens the dataset itself"].text, only="the test split is never read"))
    path, _, line = found.where.rpartition(":")
    assert Path(path).name == "mine.py"
    assert "open_dataset(" in FAULTS["opens the dataset itself"].text.splitlines()[int(line) - 1]


def test_a_fault_is_not_taken_for_another(checked):
    """Only checks that the fault is about may find it: those that draw twice, or look at what is global."""
    found = {one.check for one in problems(checked(FAULTS["has an option without help"].text))}
    assert found == {"every option has help and bounds and unknown ones are refused"}


def test_a_name_that_another_plugin_has_is_refused_with_both_owners(tmp_path):
    (tmp_path / "mine.py").write_text(FAULTS["has a name that is taken"].text)
    with pytest.raises(NameClash, match="registered twice"):
        check(Wanted("dwa"), Plugins(("mine",), folders=[tmp_path]))


def test_a_plugin_that_says_no_api_version_is_noted_and_passes(checked):
    found = checked(instead("ddbench_api = 1\n", ""), only="plugin API")
    assert [(one.status, "ddbench_api = 1" in one.advice) for one in found] == [("note", True)]


def test_what_its_tests_declare_can_be_declared(checked):
    text = FAULTS["ignores the distill seed"].text
    only = "another seed gives another set"
    assert problems(checked(text, only=only))
    assert problems(checked(text, only=only, declared={"seeded": "false"})) == []
    with pytest.raises(BadOption, match=r"declares no 'sedeed'; it may declare: balanced"):
        checked(text, declared={"sedeed": "false"})


def test_options_are_given_and_few_steps_are_made_where_nothing_is_said(checked):
    loop = "for step in range(first, o.iterations):"
    text = instead(loop, f"assert o.iterations == 3, o\n        {loop}")
    assert problems(checked(text.replace("default=2", "default=900"), only="equal seeds")) == []
    assert problems(checked(text, only="equal seeds", options={"iterations": "5"}))


def test_an_unknown_name_suggests_and_one_of_two_kinds_asks_which(tmp_path):
    plugins = Plugins(())
    with pytest.raises(UnknownName, match="Did you mean 'dwa'"):
        check(Wanted("dwaa"), plugins)
    with pytest.raises(BadRequest, match="a synthesizer and of a prior; say which with --kind"):
        check(Wanted("random"), plugins)


@pytest.mark.parametrize("name", ["dwa", "mine"])
def test_without_pytest_one_sentence_says_so(tmp_path, name):
    """In a process of its own, where pytest cannot be imported; of a plugin that loads and of one that does not."""
    (tmp_path / "mine.py").write_text("import nowhere_at_all\n")
    asked = f"plugin check {name} --plugins-dir {tmp_path}".split()
    code = f"import sys; sys.modules['pytest'] = None; from ddbench.cli.app import main; sys.argv[1:] = {asked}; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1].endswith("run: pip install pytest")
    assert "Traceback" not in ran.stderr


def test_one_error_that_many_checks_meet_is_told_once_and_its_own_sentence_is_what_to_do(checked):
    found = problems(checked(instead("JobResult(pixels.to_uint8(x), labels)", "JobResult(x, labels)")))
    assert len(found) > 5
    told = report(found)
    assert told.count("images are float32 and said to be in space 'uint8'") == 1
    assert f"and {len(found) - 1} more checks met the same" in told
    assert 'float32 for "unit"' in told


@pytest.mark.parametrize("kind", KITS)
def test_every_check_of_every_kind_says_what_to_do(kind):
    kit, _ = KITS[kind]
    assert [name for name, test in vars(kit).items() if name.startswith("test_") and not test.__doc__] == []


@pytest.mark.parametrize(
    ("kind", "name", "declared"),
    [
        ("teacher", "scratch", {}),
        ("evaluator", "top1", {}),
        ("protocol", "soft-once/1", {}),
        ("selector", "loss", {}),
        pytest.param("dataset", "digits", {}, marks=pytest.mark.slow),
        pytest.param("protocol", "quick-hard/1", {}, marks=pytest.mark.slow),
        pytest.param("objective", "distribution", {"exact": "false"}, marks=pytest.mark.slow),
        pytest.param("network", "ddbench", {"architectures": '["convnet3", "mlp"]'}, marks=pytest.mark.slow),
    ],
)
def test_first_party_plugins_of_other_kinds_pass(kind, name, declared):
    options = {"network": "toy/smooth", "batch_real": "4"} if kind == "objective" else {}
    found = check(Wanted(name, kind, options, declared), Plugins(()))
    assert problems(found) == []
    assert sum(one.status == "ok" for one in found) >= 8


def test_the_command_exits_with_one_and_says_what_to_do(tmp_path):
    (tmp_path / "mine.py").write_text(FAULTS["has a number without bounds"].text)
    asked = ["plugin", "check", "mine", "--plugins-dir", str(tmp_path), "--only", "every option"]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 1
    assert "PROBLEM synthesizer 'mine': every option has help and bounds" in ran.output
    assert "What to do: Subclass `ddbench.Options`" in ran.output
    answer = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert answer["problems"] == 1
    assert {one["status"] for one in answer["checks"]} == {"problem"}
