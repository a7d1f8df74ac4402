"""Which parts are measured, and that one that fails does not take the others with it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import figures
import pytest
import results
import run
from figures import Figure

ROOT = Path(__file__).parent.parent.parent


def given(*words: str) -> list[str]:
    return run.chosen(run.parser().parse_args(words))


def test_parts_are_chosen_left_out_and_kept_in_order():
    assert given() == [*run.RATIOS, *run.FIGURES]
    assert given("--only", "memory,recover-step") == ["recover-step", "memory"]
    assert "squeeze" not in given("--skip", "squeeze")
    assert set(given()) - set(given("--short")) == set(run.LONG)


def test_an_unknown_part_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        given("--only", "recover")
    assert "there is no part 'recover'; there are: recover-step" in capsys.readouterr().err


@pytest.mark.parametrize("module", sorted(set(run.RATIOS.values())))
def test_every_part_is_where_the_list_says(module):
    parts = importlib.import_module(module).PARTS
    assert set(parts) == {name for name, where in run.RATIOS.items() if where == module}


def test_every_figure_has_its_part():
    apart = {name for module in set(run.APART.values()) for name in importlib.import_module(module).FIGURES}
    assert {*figures.PARTS, *apart} == set(run.FIGURES)
    assert all(name in importlib.import_module(module).FIGURES for name, module in run.APART.items())


def test_a_part_that_fails_is_told_and_the_others_go_on(monkeypatch, capsys):
    def fails():
        raise RuntimeError("this part broke")

    kept = Figure("opened", 1.0, "s", "under 2", 1, met=True)
    monkeypatch.setattr(figures, "PARTS", {"start-up": fails, "opening": lambda: [kept]})
    found, failed = run.measure(["start-up", "opening"], threads=None, device="cpu")
    assert (found.figures, failed) == ([kept], ["start-up"])
    assert "this part broke" in capsys.readouterr().err


def test_measured_files_are_printed_and_written_into_a_page(tmp_path, monkeypatch, capsys):
    host = {"cpu": "a processor", "device": "cpu", "cores": 2, "threads": 2, "system": "an OS", "packages": {"torch": "9.9"}}
    file, page, again = tmp_path / "a.json", tmp_path / "page.md", tmp_path / "b.json"
    file.write_text(results.Results(host, figures=[Figure("opened", 1.0, "s", "under 2", 1, met=True)]).to_json())
    page.write_text(f"{results.BEGIN}{results.END}")
    monkeypatch.setattr(sys, "argv", ["run.py", "--read", str(file), "--write", str(page), "--json", str(again)])
    assert run.main() == 0
    assert "opened" in capsys.readouterr().out
    assert "| opened | 1 s | under 2 | yes |" in page.read_text()
    assert json.loads(again.read_text()) == json.loads(file.read_text())


def test_help_needs_no_torch():
    program = "import sys; sys.argv = ['run.py', '--help']; import run; exec('try: run.main()\\nexcept SystemExit: pass'); "
    program += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "benchmarks" / "perf", capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_the_page_on_performance_has_one_place_for_the_tables_and_names_every_part():
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert len(re.findall(f"{results.BEGIN}.*?{results.END}", text, re.DOTALL)) == 1
    assert [name for name in (*run.RATIOS, *run.FIGURES) if f"`{name}`" not in text] == []
