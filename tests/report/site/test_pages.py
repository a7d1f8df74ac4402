"""The site is a pure function of records, and other people's text is text."""

from __future__ import annotations

import hashlib
import html
import io
import json
import random
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from boards import resealed, saved, small_board
from ddbench.report.site import board as boards
from ddbench.report.site import downloads, pages
from ddbench.report.site.admission import admit
from ddbench.report.site.command import reproduce
from ddbench.report.site.writing import OWN
from handmade import nested, record

HOSTILE = "<script>alert(1)</script>"
NAMES = [
    HOSTILE,
    "\"'><img src=x onerror=alert(1)>",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "a\u202eb\x00\x1bc",
    "{{ 7*7 }}",
    "</title>",
]


def built(*folders, code="newest") -> dict[str, bytes]:
    """Return a site's files by name."""
    files = list(pages.site(boards.board(admit(folders), code)))
    assert len({name for name, _ in files}) == len(files)
    return dict(files)


class Tags(HTMLParser):
    """Collects every tag with its attributes, and the text between."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parsed(page: bytes) -> Tags:
    found = Tags()
    found.feed(page.decode())
    return found


def rows_of(site) -> list[dict]:
    return [row for name in sorted(site) if re.fullmatch(r"data/leaderboard-\d+\.json", name) for row in json.loads(site[name])]


def test_the_same_records_give_the_same_bytes_whatever_their_files_order(tmp_path):
    records = small_board()
    first = built(saved(tmp_path / "a" / "records", *records))
    shuffled = random.Random(1).sample(records, len(records))
    parts = [saved(tmp_path / "b" / "records", *shuffled[:7]), saved(tmp_path / "c" / "records", *shuffled[7:])]
    assert built(*parts) == first
    assert built(*reversed(parts)) == first


def test_every_row_and_every_method_has_a_page_and_every_link_resolves(tmp_path):
    site = built(saved(tmp_path / "records", *small_board()))
    assert sum(name.startswith("row/") for name in site) == 5
    assert sum(name.startswith("method/") for name in site) == 3
    for name, content in site.items():
        if name.endswith(".html"):
            for tag, attributes in parsed(content).tags:
                link = attributes.get("href") if tag in {"a", "link"} else attributes.get("src")
                if link and not link.startswith(("#", "data:")):
                    path = link.partition("#")[0].partition("?")[0]
                    target = path.removeprefix("../") if name.count("/") else path
                    assert target in site, (name, link)


def test_nothing_on_a_page_comes_from_elsewhere_and_no_page_is_large(tmp_path):
    site = built(saved(tmp_path / "records", *small_board()))
    for name, content in site.items():
        assert OWN.fullmatch(name)
        assert len(content) < 2_000_000
        if name.endswith(".html"):
            assert b"://" not in content.replace(b"http-equiv", b"")
            assert b"default-src 'none'" in content
            assert not [tag for tag, attributes in parsed(content).tags if tag == "style" or "style" in attributes]
            assert not [attributes for tag, attributes in parsed(content).tags if tag == "script" and not attributes.get("src")]
            assert not [name for _, attributes in parsed(content).tags for name in attributes if name.startswith("on")]


def test_rankings_keep_apart_what_cannot_be_compared(tmp_path):
    other = [
        record(0.5, teacher_key="8" * 20),
        record(0.5, numerics=2),
        record(0.5, shape=(1, 16, 16)),
        record(0.5, protocol_sha256="ab" * 32),
        record(0.5, ipc=1),
        record(0.5, label_regime="soft_once"),
        record(0.5, student="ddbench/other"),
        record(0.5, dataset="another"),
    ]
    found = boards.board(admit([saved(tmp_path / "records", record(0.5), *other)]))
    assert len(found.rankings) == 1 + len(other)
    assert len({ranking.id for ranking in found.rankings}) == 1 + len(other)
    assert len({ranking.title for ranking in found.rankings}) == 1 + len(other)


def test_a_rows_page_stays_where_it_is_when_records_are_added(tmp_path):
    before = built(saved(tmp_path / "records", *small_board()))
    more = nested("dwa", [[0.9, 0.8]], options={"rho": 1.0}) + nested("herding", [[0.7, 0.7]])
    after = built(saved(tmp_path / "records", *more))
    assert {name for name in before if name.startswith(("row/", "method/"))} < set(after)


def test_a_rows_page_tells_every_option_its_source_the_hardware_and_the_seeds(tmp_path):
    site = built(saved(tmp_path / "records", *small_board()))
    page = next(site[row["page"]].decode() for row in rows_of(site) if row["method"].startswith("dwa"))
    for text in ("rho", "0.015", "default", "a processor", "distill seed", "Training loss", "<polyline", "submitted"):
        assert text in page, text
    words = shlex.split(html.unescape(re.search(r"<code>(.*?)</code>", page)[1]))
    assert words[:5] == ["ddbench", "run", "dwa", "--dataset", "digits"]
    assert words[words.index("--distill-seeds") + 1] == "3"
    assert words[words.index("--eval-seeds") + 1] == "2"


def test_numbers_on_the_site_are_those_of_the_table(tmp_path):
    rows = {(row["method"], row["label_regime"]): row for row in rows_of(built(saved(tmp_path / "records", *small_board())))}
    soft = rows["random", "soft_online"]
    assert soft["top1_percent"] == pytest.approx(100 * (0.61 + 0.625 + 0.59) / 3, abs=1e-4)
    assert (soft["sets"], soft["students"], soft["difference_to_random_percent"]) == (3, 6, None)
    assert next(row for key, row in rows.items() if key[0].startswith("dwa") and key[1] == "soft_online")["verdict"] == 1
    assert next(row for key, row in rows.items() if key[0].startswith("dwa") and key[1] == "hard")["verdict"] == -1


def test_rows_of_one_ranking_have_rank_intervals_and_an_incomplete_one_is_shown_without(tmp_path):
    records = [*small_board(), *nested("herding", [[0.7]])]
    site = built(saved(tmp_path / "records", *records))
    ranks = {row["method"].split()[0]: row for row in rows_of(site) if row["label_regime"] == "soft_online"}
    assert (ranks["dwa"]["rank_from"], ranks["dwa"]["rank_to"], ranks["dwa"]["tie_group"]) == (1, 1, 1)
    assert {(ranks[name]["rank_from"], ranks[name]["rank_to"], ranks[name]["tie_group"]) for name in ("random", "sre2l")} == {
        (2, 3, 2)
    }
    assert (ranks["herding"]["rank_from"], ranks["herding"]["ranked"]) == (None, 3)
    assert ranks["herding"]["unranked_because"]
    page = site[ranks["herding"]["page"]].decode()
    assert ranks["herding"]["unranked_because"] in html.unescape(page)
    order = [row["method"].split()[0] for row in rows_of(site) if row["label_regime"] == "soft_online"]
    assert order == ["dwa", "random", "sre2l", "herding"]


def test_published_numbers_are_claimed_stand_in_no_ranking_and_beside_what_was_measured(tmp_path):
    measured = nested("random", [[0.154], [0.15], [0.16], [0.155], [0.152]], dataset="cifar10", ipc=1, protocol="dc-hard/1")
    site = built(saved(tmp_path / "records", *measured))
    claimed = [row for row in rows_of(site) if row["level"] == "claimed"]
    assert {row["dataset"] for row in claimed} == {"cifar10"}
    assert all(row["rank_from"] is None and row["source"] and row["unranked_because"] for row in claimed)
    assert all(row["protocol"].startswith("as published: ") for row in claimed)
    benchmark = [row for row in claimed if (row["method"], row["ipc"], row["student"]) == ("random", 1, "ddbench/convnet3")]
    assert 15.4 in [row["top1_percent"] for row in benchmark]
    row = next(page.decode() for name, page in site.items() if name.startswith("row/"))
    assert re.search(r"Published beside measured.*<th scope=\"row\">15\.4</th>.*<td>[+-]0\.\d</td><td>yes</td>", row, re.DOTALL)
    assert "Published numbers of random" in next(page.decode() for name, page in site.items() if name.startswith("method/"))
    assert not [row for row in rows_of(built(saved(tmp_path / "digits", *small_board()))) if row["level"] == "claimed"]


def test_files_beside_records_that_say_which_images_were_right_make_the_test_images_a_sample(tmp_path):
    draws = np.random.default_rng(0)
    records, files = [], {}
    for one in small_board():
        correct = draws.random(one.dataset.test_images) < one.metric("top1")
        buffer = io.BytesIO()
        np.savez(buffer, correct=np.packbits(correct))
        records.append(one.model_copy(update={"sidecar": hashlib.sha256(buffer.getvalue()).hexdigest()}).sealed())
        files[one.key] = buffer.getvalue()
    alone = rows_of(built(saved(tmp_path / "alone", *records)))
    folder = saved(tmp_path / "records", *records)
    for key, content in files.items():
        (folder / f"{key}.npz").write_bytes(content)
    beside = rows_of(built(folder))
    assert [row["top1_percent"] for row in beside] == [row["top1_percent"] for row in alone]
    assert all(row["unranked_because"] is None for row in beside)
    assert [row["difference_low_percent"] for row in beside] != [row["difference_low_percent"] for row in alone]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_shown_as_text_and_names_no_file(tmp_path, name):
    options = {name: name}
    hostile = nested(name, [[0.5, 0.6]], student=name, dataset=name, protocol=name, teacher=name, options=options)
    site = built(saved(tmp_path / "records", *hostile, *small_board()))
    clean = "".join(char for char in name if char.isprintable())
    harmless = built(saved(tmp_path / "clean", *small_board()))
    row = next(page for row, page in site.items() if row.startswith("row/") and row not in harmless)
    assert clean in parsed(row).text
    allowed = {tag for page in harmless for tag, _ in parsed(harmless[page]).tags if page.endswith(".html")} | {"nav"}
    for page, content in site.items():
        assert OWN.fullmatch(page)
        if page.endswith(".html"):
            assert {tag for tag, _ in parsed(content).tags} <= allowed
            assert len([1 for tag, _ in parsed(content).tags if tag == "script"]) == (3 + 1 if page == "index.html" else 0)
        if page.startswith("data/") and page.endswith(".js"):
            assert b"<" not in content
            assert content.isascii()


@pytest.mark.parametrize("name", [*NAMES, "$(touch /tmp/x)", "`id`", "a; rm -rf b", "--out=/etc"])
def test_the_command_to_make_a_row_again_is_safe_to_paste(name):
    one = record(0.5, synthesizer=name, dataset=name, student=name, options={"a": name})
    one = one.model_copy(
        update={"options": {"synthesizer": one.options["synthesizer"].model_copy(update={"sources": {"a": "suite"}})}}
    )
    words = shlex.split(reproduce([one]))
    clean = "".join(char for char in name if char.isprintable())
    assert words[:2] == ["ddbench", "run"]
    assert words.count(clean) >= 3
    assert "\n" not in reproduce([one])


def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path):
    site = built(saved(tmp_path / "records", *nested("=1+1", [[0.5, 0.6]])))
    assert site["data/leaderboard-1.csv"].decode().splitlines()[1].startswith("'=1+1,")


def test_long_texts_are_cut_and_the_cut_is_told(tmp_path):
    site = built(saved(tmp_path / "records", *nested("x" * 300_000, [[0.5]], options={"note": "y" * 400_000})))
    assert max(map(len, site.values())) < 500_000
    row = next(content.decode() for name, content in site.items() if name.startswith("row/"))
    assert "… (cut: 300,000 characters)" in row
    assert "… (cut: 400,000 characters)" in row


def test_a_record_with_more_options_than_a_page_holds_is_cut_there(tmp_path):
    site = built(
        saved(tmp_path / "records", *nested("many", [[0.5]], options={f"option{number}": number for number in range(9_000)}))
    )
    row = next(content.decode() for name, content in site.items() if name.startswith("row/"))
    assert len(row) < 200_000
    assert "and 8700 more" in row


def test_a_method_with_many_rows_has_several_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LINES_A_PAGE", 2)
    monkeypatch.setattr(downloads, "MOST_BYTES", 1000)
    records = [record(0.5, synthesizer="dwa", ipc=ipc) for ipc in range(1, 6)]
    site = built(saved(tmp_path / "records", *records))
    assert sum(name.startswith("method/") for name in site) == 3
    assert sum(bool(re.fullmatch(r"data/board-\d+\.js", name)) for name in site) > 2
    assert len(rows_of(site)) == 5
    assert sum(content.count(b"\n") - 1 for name, content in site.items() if name.endswith(".csv")) == 5


def test_an_empty_board_is_a_site_that_says_so(tmp_path):
    saved(tmp_path / "records", record(0.5, smoke=True))
    site = built(tmp_path / "records")
    assert b"1 record was" in site["index.html"]
    assert b"comes from a smoke run" in site["about.html"]
    assert rows_of(site) == []


def test_what_was_left_out_is_on_the_page_as_text(tmp_path):
    folder = saved(tmp_path / "records", *small_board())
    resealed(folder / "x.json", record(0.1).model_dump(mode="json"), key=HOSTILE)
    page = built(folder)["about.html"]
    assert HOSTILE in parsed(page).text
    assert HOSTILE.encode() not in page


def test_a_preview_beside_records_is_shown_and_what_is_none_is_not(tmp_path):
    folder = saved(tmp_path / "records", *small_board())
    dwa = next(one for one in small_board() if one.cell.synthesizer == "dwa")
    Image.new("L", (80, 80), 100).save(folder / f"{dwa.distilled_key}.png")
    other = next(one for one in small_board() if one.cell.synthesizer == "sre2l")
    (folder / f"{other.distilled_key}.png").write_text("<svg onload=alert(1)>")
    site = built(folder)
    images = [name for name in site if name.startswith("image/")]
    assert len(images) == 1
    with_image = [name for name, content in site.items() if name.startswith("row/") and b"<img" in content]
    assert 1 <= len(with_image) <= 2
    assert all(images[0].encode() in site[name] for name in with_image)


def test_a_stores_previews_are_found(tmp_path):
    one = record(0.5, synthesizer="dwa")
    folder = saved(tmp_path / "store" / "records", one)
    (tmp_path / "store" / "distilled" / one.distilled_key).mkdir(parents=True)
    Image.new("L", (80, 80), 100).save(tmp_path / "store" / "distilled" / one.distilled_key / "preview.png")
    assert any(name.startswith("image/") for name in built(folder))


def method_page(site, name) -> str:
    return next(page.decode() for path, page in site.items() if path.startswith("method/") and f"<h1>{name}</h1>".encode() in page)


def test_a_methods_page_shows_its_best_row_from_close_up_with_curves_options_hardware_and_command(tmp_path):
    page = method_page(built(saved(tmp_path / "records", *small_board())), "dwa")
    assert "quick-soft/1" in page.partition('id="example"')[2].partition("</p>")[0]  # beside hard labels it is worse than random
    assert "the row with the largest difference to random;" in page
    for text in ("<polyline", "Training loss of 6 students", "Options of dwa", "0.015", "default", "a processor"):
        assert text in page, text
    assert "<img" not in page
    words = shlex.split(html.unescape(re.search(r"<code>(.*?)</code>", page)[1]))
    assert words[:9] == ["ddbench", "run", "dwa", "--dataset", "digits", "--ipc", "10", "--protocol", "quick-soft/1"]


def test_a_methods_page_prefers_a_row_with_a_picture_and_shows_it(tmp_path):
    hard = next(one for one in small_board() if one.cell.synthesizer == "dwa" and one.cell.label_regime == "hard")
    brighter = hard.model_copy(update={"distilled_key": "ab" * 10}).sealed()
    folder = saved(tmp_path / "records", *[brighter if one.key == hard.key else one for one in small_board()])
    Image.new("L", (80, 80), 100).save(folder / f"{brighter.distilled_key}.png")
    site = built(folder)
    page = method_page(site, "dwa")
    (image,) = [name for name in site if name.startswith("image/")]
    assert f'src="../{image}"' in page
    assert "--protocol quick-hard/1" in page
    assert "the row with the largest difference to random among those with a picture;" in page
    assert "<img" not in method_page(site, "random")


def test_the_control_has_no_difference_and_shows_its_first_row(tmp_path):
    page = method_page(built(saved(tmp_path / "records", *small_board())), "random")
    assert "the first row;" in page
    assert "ddbench run random" in page


def test_only_the_first_of_a_methods_pages_has_the_row_from_close_up(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LINES_A_PAGE", 2)
    site = built(saved(tmp_path / "records", *(record(0.5, synthesizer="dwa", ipc=ipc) for ipc in range(1, 6))))
    with_example = [page for name, page in site.items() if name.startswith("method/") and b'id="example"' in page]
    assert with_example == [site[downloads.method_page("dwa", 1)]]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_in_a_methods_example_is_text(tmp_path, name):
    hostile = nested("mine", [[0.5, 0.6]], student=name, dataset=name, protocol=name, teacher=name, options={name: name})
    hostile = [one.model_copy(update={"host": {"cpu": name, name: name}}).sealed() for one in hostile]
    site = built(saved(tmp_path / "records", *hostile))
    page = site[downloads.method_page("mine")]
    plain = built(saved(tmp_path / "plain", *nested("mine", [[0.5, 0.6]], options={"a": "b"})))[downloads.method_page("mine")]
    assert [tag for tag, _ in parsed(page).tags] == [tag for tag, _ in parsed(plain).tags]
    clean = "".join(char for char in name if char.isprintable())
    assert parsed(page).text.count(clean) > 5


def test_a_methods_page_that_would_be_too_large_leaves_the_row_to_its_own_page(tmp_path, monkeypatch):
    folder = saved(tmp_path / "records", *nested("many", [[0.5]], options={f"option{number}": "y" * 390 for number in range(300)}))
    whole = built(folder)[downloads.method_page("many")]
    monkeypatch.setattr(downloads, "MOST_BYTES", len(whole) - 1)
    cut = built(folder)[downloads.method_page("many")]
    assert b'id="example"' not in cut
    assert len(cut) < len(whole) - 300 * 390
    monkeypatch.setattr(downloads, "MOST_BYTES", len(whole))
    assert built(folder)[downloads.method_page("many")] == whole
