"""What the measurements' tables say of what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from figures import Figure
from pairs import Ratio, composed
from results import BEGIN, END, Peak, Results, fill, markdown, met, read

HOST = {"cpu": "a processor", "device": "cpu", "cores": 2, "threads": 2, "system": "an OS", "packages": {"torch": "9.9"}}
STEP = Ratio("a step", 0.9, 0.3, 2.0, 4.0, plain_peak_bytes=3_000_000, fast_peak_bytes=2_000_000, flops_per_s=200e9, rounds=5)
PEAKS = {"fp32": Peak(100e9, 90e9), "bf16": Peak(380e9, 400e9)}


def rows(text: str) -> dict[str, list[str]]:
    """Return a Markdown text's table rows by their first cell."""
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_a_ratio_is_shown_with_its_reach_its_memory_and_its_part_of_the_best_peak():
    text = markdown(Results(HOST, PEAKS, [STEP]))
    assert rows(text)["a step"] == ["900 ms", "300 ms", "3.00×", "2× / 4×", "yes", "3 / 2 MB", "200", "50 %"]
    assert "a processor, 2 cores, 2 threads; torch 9.9; an OS" in text
    assert "matrix product, bf16: 380 GFLOP/s before, 400 after" in text
    assert "- a step: median of 5 rounds" in text


def test_what_cannot_be_told_is_a_dash():
    untold = replace(STEP, at_least=1.0, plain_peak_bytes=0, flops_per_s=None)
    assert rows(markdown(Results(HOST, {}, [untold])))["a step"][3:] == ["–"] * 5


@pytest.mark.parametrize(("fast_s", "said"), [(0.5, "no"), (0.45, "yes"), (0.3, "yes"), (0.2, "stretch")])
def test_a_ratio_is_held_against_what_was_set(fast_s, said):
    assert met(replace(STEP, fast_s=fast_s)) == said


def test_a_composed_row_names_its_parts_below_the_table_and_bars_do_not_break_it():
    whole = composed("a whole", [(STEP, 10, 5), (replace(STEP, name="a test"), 4, 1)], at_least=2.0, stretch=9.0)
    assert (whole.plain_s, whole.fast_s) == pytest.approx((0.9 * 14, 0.3 * 6))
    assert "- a whole: composed of 10|5 × a step + 4|1 × a test" in markdown(Results(HOST, PEAKS, [whole]))
    barred = markdown(Results(HOST, PEAKS, [replace(STEP, name="one|two")]))
    assert "one\\|two" in barred


def test_figures_say_what_was_promised_and_whether_it_was_kept():
    figures = [Figure("start", 0.41234, "s", "at most 0.6", 6, met=True), Figure("job", 123.4, "s", "at most 90", 1, met=False)]
    table = rows(markdown(Results(HOST, figures=[*figures, Figure("growth", 1.0, "×", "does not grow", 1)])))
    assert table["start"] == ["0.412 s", "at most 0.6", "yes"]
    assert table["job"] == ["123 s", "at most 90", "no"]
    assert table["growth"] == ["1 ×", "does not grow", "–"]


def test_files_of_one_machine_make_one_table_in_which_later_rows_count(tmp_path):
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    old, new = (Figure("job", value, "s", "at most 90", 1, met=value <= 90) for value in (95.0, 80.0))
    first.write_text(Results(HOST, {"fp32": Peak(100e9, 90e9)}, [STEP, replace(STEP, name="other")], [old]).to_json())
    second.write_text(Results(HOST, {"fp32": Peak(95e9, 99e9)}, [replace(STEP, fast_s=0.1)], [new]).to_json())
    both = read([first, second])
    assert both == Results(HOST, {"fp32": Peak(100e9, 99e9)}, [replace(STEP, fast_s=0.1), replace(STEP, name="other")], [new])


def test_files_of_two_machines_make_none(tmp_path):
    for number, cores in enumerate((2, 4)):
        (tmp_path / f"{number}.json").write_text(Results({**HOST, "cores": cores}, {}, [STEP]).to_json())
    with pytest.raises(ValueError, match="different machines"):
        read(sorted(tmp_path.iterdir()))


def test_a_page_is_filled_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill(page, "new \\1")
    assert page.read_text() == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"
    page.write_text("<!-- perf:begin a -->1<!-- perf:end a --><!-- perf:begin b -->2<!-- perf:end b -->")
    fill(page, "new", "b")
    assert page.read_text() == "<!-- perf:begin a -->1<!-- perf:end a --><!-- perf:begin b -->\nnew\n<!-- perf:end b -->"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="0 places"):
        fill(page, "new")
