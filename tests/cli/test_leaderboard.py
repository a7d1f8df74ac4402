"""`ddbench leaderboard`: what is written where, what a stale site is told, and who may look."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from boards import saved, small_board
from ddbench.cli.app import app
from ddbench.errors import DataMissing, EnvironmentProblem
from ddbench.report.site.serving import LOOPBACK, server
from handmade import nested, record

PAGE = """# Ours

<!-- leaderboard:begin -->
old
<!-- leaderboard:end -->
after
<!-- leaderboard-digest:begin --><!-- leaderboard-digest:end -->
"""


def leaderboard(*words):
    return CliRunner().invoke(app, ["leaderboard", *map(str, words)])


@pytest.fixture
def records(tmp_path):
    return saved(tmp_path / "records", *small_board())


@pytest.fixture
def site(records, tmp_path):
    assert leaderboard("build", records, "--out", tmp_path / "site").exit_code == 0
    return tmp_path / "site"


def names(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_build_prints_where_the_site_is_and_tells_what_it_left_out(records, tmp_path):
    saved(records, record(0.5, smoke=True))
    result = leaderboard("build", records, "--out", tmp_path / "site")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'site' / 'index.html'}\n"
    assert "5 rows in 2 rankings from 30 records" in result.stderr
    assert "left out: records/" in result.stderr
    assert "comes from a smoke run" in result.stderr


def test_build_answers_in_json(records, tmp_path):
    answer = json.loads(leaderboard("build", records, "--out", tmp_path / "site", "--json").stdout)
    assert (answer["rows"], answer["rankings"], answer["records"], answer["left_out"]) == (5, 2, 30, [])
    assert answer["files"] == answer["changed"] == len(names(tmp_path / "site"))


def test_building_again_changes_nothing_and_fewer_records_take_their_pages_away(records, site):
    before = names(site)
    again = json.loads(leaderboard("build", records, "--out", site, "--json").stdout)
    assert (again["changed"], again["removed"], names(site)) == (0, 0, before)
    for one in small_board():
        if one.cell.synthesizer == "sre2l":
            (records / f"{one.key}.json").unlink()
    (site / "notes.txt").write_text("mine")
    fewer = json.loads(leaderboard("build", records, "--out", site, "--json").stdout)
    assert fewer["removed"] == 2
    assert (site / "notes.txt").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_left_alone(records, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("mine")
    result = leaderboard("build", records, "--out", tmp_path / "home")
    assert result.exit_code == 2
    assert "holds no site" in result.stderr
    assert names(tmp_path / "home") == {"letter.txt": b"mine"}
    assert leaderboard("build", records, "--out", tmp_path / "home" / "letter.txt").exit_code == 2


def test_tables_are_written_between_markers_and_nothing_else_changes(records, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert leaderboard("build", records, "--table", page).exit_code == 0
    text = page.read_text()
    assert text.startswith("# Ours\n\n<!-- leaderboard:begin -->\n\n**digits")
    assert "old" not in text
    assert "<!-- leaderboard:end -->\nafter\n<!-- leaderboard-digest:begin -->" in text
    assert "| random | 60.8 ± 4.4 |" in text
    assert not (tmp_path / "site").exists()
    assert leaderboard("check", records, "--table", page).exit_code == 0
    page.write_text(text.replace("60.8", "66.8"))
    result = leaderboard("check", records, "--table", page)
    assert result.exit_code == 1
    assert f"the leaderboard is stale: {page}" in result.stderr


@pytest.mark.parametrize(
    "text", ["no markers", "<!-- leaderboard:begin -->", "<!-- leaderboard:end --><!-- leaderboard:begin -->", PAGE + PAGE]
)
def test_a_page_without_its_place_is_refused(records, tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert leaderboard("build", records, "--table", page).exit_code == 2
    assert page.read_text() == text
    assert leaderboard("build", records, "--table", tmp_path / "none.md").exit_code == 3


def test_check_passes_on_what_was_built_and_fails_with_a_sentence_when_records_change(records, site):
    assert leaderboard("check", records, "--out", site).exit_code == 0
    saved(records, *nested("herding", [[0.7, 0.7]]))
    result = leaderboard("check", records, "--out", site)
    assert result.exit_code == 1
    assert "the leaderboard is stale" in result.stderr
    assert re.search(r"about\.html.* and \d+ more; make it again with ddbench leaderboard build", result.stderr)


@pytest.mark.parametrize("harm", ["edit", "remove", "add"])
def test_check_fails_on_any_other_file(records, site, harm):
    page = next(path for path in sorted((site / "row").iterdir()))
    if harm == "edit":
        page.write_bytes(page.read_bytes().replace(b"</html>", b"</html> "))
    if harm == "remove":
        page.unlink()
    if harm == "add":
        page = site / "row" / f"{'0' * 16}.html"
        page.write_text("x")
    answer = leaderboard("check", records, "--out", site, "--json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["stale_files"] == [f"row/{page.name}"]


def test_a_quarantine_list_of_ones_own_is_obeyed(records, tmp_path):
    path = tmp_path / "list.toml"
    path.write_text('[[quarantined]]\nprotocol = "quick-hard/1"\nreason = "wrong schedule"\ndate = 2026-01-02\n')
    result = leaderboard("build", records, "--out", tmp_path / "site", "--quarantine", path)
    assert "3 rows in 1 rankings" in result.stderr
    assert "quarantined on 2026-01-02: wrong schedule" in result.stderr
    assert "left out in all: 12 (quarantined: 12)" not in result.stderr
    assert "wrong schedule" in (tmp_path / "site" / "about.html").read_text()


def test_the_site_is_served_on_loopback_with_its_own_files_only(site, tmp_path):
    (site / "secret.txt").write_text("mine")
    with server(site) as running:
        assert running.server_address[0] == LOOPBACK
        threading.Thread(target=running.serve_forever, daemon=True).start()

        def ask(path, host=None, method="GET"):
            connection = http.client.HTTPConnection(LOOPBACK, running.server_address[1], timeout=10)
            connection.request(method, path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert ask("/") == (200, (site / "index.html").read_bytes())
        assert ask("/assets/site.js?abc")[0] == 200
        assert ask("/data/board-1.js", host="localhost:1")[0] == 200
        for path in ("/secret.txt", "/row/", "/../records", "/row/..%2f..%2fpage.md", "/%2e%2e/", "//etc/passwd"):
            assert ask(path)[0] == 404, path
        assert ask("/", host="evil.example")[0] == 403
        assert ask("/", method="POST")[0] == 501
        with pytest.raises(EnvironmentProblem, match="--port"):
            server(site, running.server_address[1])
        running.shutdown()
    with pytest.raises(DataMissing, match="ddbench leaderboard build"):
        server(tmp_path)


def test_building_imports_no_torch(records, tmp_path):
    code = (
        "import sys; from ddbench.cli.app import app; app(['leaderboard', 'build', *sys.argv[1:]], standalone_mode=False); "
        "print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(records), "--out", str(tmp_path / "site")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"
