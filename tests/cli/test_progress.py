from __future__ import annotations

import pytest

from ddbench.cli import progress
from ddbench.cli.output import columns
from ddbench.cli.progress import LineReporter, Pace, described
from ddbench.progress import duration


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_left_follows_the_steps_made_in_this_process():
    clock = Clock()
    pace = Pace(clock)
    assert pace.left_s(500, 1000) is None
    clock.now = 10.0
    assert pace.left_s(600, 1000) == pytest.approx(40.0)


def test_a_resumed_stage_is_not_credited_with_steps_it_did_not_make():
    clock = Clock()
    pace = Pace(clock)
    pace.left_s(900, 1000)
    clock.now = 50.0
    assert pace.left_s(950, 1000) == pytest.approx(50.0)


def test_lines_come_at_most_every_ten_seconds(capsys):
    clock = Clock()
    with LineReporter(clock).stage("dwa") as stage:
        for step in range(31):
            clock.now = float(step)
            stage.update(step, 100, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    told = [f"dwa: {step}/100, loss 0.5, {100 - step} s left" for step in (10, 20, 30)]
    assert lines == [*told, "dwa: done in 30 s"]


def test_many_short_stages_are_told_every_ten_seconds_too(capsys):
    clock = Clock()
    reporter = LineReporter(clock)
    for number in range(9):
        with reporter.stage(f"student {number}"):
            clock.now += 4.0
    assert capsys.readouterr().err.splitlines() == ["student 2: done in 4 s", "student 5: done in 4 s", "student 8: done in 4 s"]


def test_a_short_stage_says_nothing(capsys):
    with LineReporter().stage("student") as stage:
        stage.update(1, 2)
    assert capsys.readouterr().err == ""


def test_notes_go_to_stderr_as_one_line(capsys):
    LineReporter().note("a\nb")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "a b\n")


def test_a_finished_stage_has_no_time_left():
    assert described(10, 10, 0.0, {}) == "10/10"


def test_bars_show_titles_as_text_and_go_when_the_stage_is_over(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.shown_progress() as reporter:
        with reporter.stage("[red]dwa[/red] [") as stage:
            stage.update(1, 10, loss=0.25)
            assert [task.description for task in reporter.progress.tasks] == ["[red]dwa[/red] ["]
            assert reporter.progress.tasks[0].fields["text"] == "1/10, loss 0.25"
            reporter.note("[bold]a note[/bold]")
        assert reporter.progress.tasks == []
    assert "[bold]a note[/bold]" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "under a second"), (40, "40 s"), (720, "12 min"), (7800, "2 h 10 min")])
def test_durations_read_like_a_person_says_them(seconds, text):
    assert duration(seconds) == text


def test_columns_line_up_and_the_last_one_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    text = columns([("a", "word " * 12), ("longer", "x")])
    assert {line.index(line.split()[-1][0]) >= 8 for line in text.splitlines()} == {True}
    assert max(len(line) for line in text.splitlines()) <= 50
