from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest

from ddbench.report.sidecars import Sidecars
from ddbench.report.sources import load
from ddbench.report.tables import summary
from handmade import record

IMAGES = 899
"""Test images of a handmade record."""


def npz(**arrays) -> bytes:
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def with_hits(correct: np.ndarray, **changes):
    """Return a record whose top1 is that of the hits, and its sidecar."""
    content = npz(predictions=np.zeros(len(correct), np.uint8), correct=np.packbits(correct))
    one = record(float(correct.mean()), **changes)
    return one.model_copy(update={"sidecar": hashlib.sha256(content).hexdigest()}).sealed(), content


def kept(folder, *made):
    """Write records with their sidecars, and return what is loaded."""
    for one, content in made:
        (folder / f"{one.key}.json").write_text(one.model_dump_json(), "utf-8")
        (folder / f"{one.key}.npz").write_bytes(content)
    return load(None, [folder])


def methods(chances: dict[str, np.ndarray], seed: int = 0):
    """Return records of three sets with three students each that name each image right with its own chance."""
    rng = np.random.default_rng(seed)
    return [
        with_hits(rng.uniform(size=IMAGES) < chances[name], synthesizer=name, distill_seed=d, eval_seed=e)
        for name in chances
        for d in range(3)
        for e in range(3)
    ]


def test_hits_come_from_the_sidecar_bit_by_bit(tmp_path):
    correct = np.random.default_rng(1).uniform(size=IMAGES) < 0.7
    loaded = kept(tmp_path, with_hits(correct))
    assert (loaded.sidecars.correct(loaded.records[0]) == correct).all()


@pytest.mark.parametrize(
    "content",
    [
        b"not an npz",
        npz(predictions=np.zeros(IMAGES, np.uint8)),
        npz(correct=np.zeros(5, np.uint8)),
        npz(correct=np.zeros(113, np.int64)),
        npz(correct=np.array([{"a": "pickle"}], dtype=object)),
        npz(correct=np.zeros(10_000_000, np.uint8)),
    ],
    ids=["no npz", "no hits", "too short", "no bits", "pickle", "too long"],
)
def test_a_sidecar_that_does_not_say_it_is_as_good_as_none(tmp_path, content):
    one = record(0.5).model_copy(update={"sidecar": hashlib.sha256(content).hexdigest()}).sealed()
    loaded = kept(tmp_path, (one, content))
    assert loaded.sidecars.correct(loaded.records[0]) is None


def test_a_sidecar_that_does_not_match_its_record_is_never_used(tmp_path):
    one, _ = with_hits(np.ones(IMAGES, bool))
    _, other = with_hits(np.zeros(IMAGES, bool))
    loaded = kept(tmp_path, (one, other))
    assert loaded.sidecars.correct(loaded.records[0]) is None
    assert Sidecars({}).correct(one) is None


def test_a_name_of_a_path_inside_a_sidecar_writes_nothing(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("../../escaped.npy", b"x")
    one = record(0.5).model_copy(update={"sidecar": hashlib.sha256(target.getvalue()).hexdigest()}).sealed()
    loaded = kept(tmp_path, (one, target.getvalue()))
    assert loaded.sidecars.correct(loaded.records[0]) is None
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npz"]


def test_a_lead_that_rests_on_these_test_images_is_no_lead(tmp_path):
    """Methods that are sure of their images, each of others: one is ahead on these, as it would be behind on the next."""
    rng = np.random.default_rng(2)
    chances = {"random": (rng.uniform(size=IMAGES) < 0.5) * 1.0, "dwa": (rng.uniform(size=IMAGES) < 0.53) * 1.0}
    chances = {name: np.clip(chance, 0.02, 0.98) for name, chance in chances.items()}
    loaded = kept(tmp_path, *methods(chances))
    given, counted = (
        {row.label: row.results["convnet3"] for row in summary(loaded.records, sidecars=sidecars)[0].rows}
        for sidecars in (None, loaded.sidecars)
    )
    assert given["dwa"].difference.value == counted["dwa"].difference.value
    assert given["dwa"].difference.verdict != 0
    assert counted["dwa"].difference.verdict == 0
    assert counted["dwa"].rank == (1, 2) != given["dwa"].rank


def test_images_that_all_methods_find_hard_do_not_widen_the_difference(tmp_path):
    chance = np.random.default_rng(3).uniform(0.05, 0.9, IMAGES)
    loaded = kept(tmp_path, *methods({"random": chance, "dwa": chance + 0.1}))
    (table,) = summary(loaded.records, sidecars=loaded.sidecars)
    found = {row.label: row.results["convnet3"] for row in table.rows}
    assert found["dwa"].difference.verdict == 1
    assert found["dwa"].difference.half_width < 0.03
    assert any("count the test images as a sample" in note for note in table.notes)


def test_without_one_sidecar_the_test_split_is_given_for_that_row(tmp_path):
    chance = np.random.default_rng(4).uniform(size=IMAGES)
    made = methods({"random": chance, "dwa": chance, "noise": chance * 0.5})
    loaded = kept(tmp_path, *made)
    gone = next(one for one, _ in made if one.cell.synthesizer == "noise")
    (tmp_path / f"{gone.key}.npz").unlink()
    (table,) = summary(loaded.records, sidecars=loaded.sidecars)
    found = {row.label: row.results["convnet3"] for row in table.rows}
    assert [found[name].hits is None for name in ("random", "dwa", "noise")] == [False, False, True]
    assert any("at hand" in note for note in table.notes)
    assert found["noise"].rank == (3, 3)


def test_the_average_over_students_counts_the_images_too(tmp_path):
    rng = np.random.default_rng(5)
    made = [
        with_hits(rng.uniform(size=IMAGES) < 0.5 + lead, synthesizer=name, student=student, distill_seed=d, eval_seed=e)
        for name, lead in (("random", 0), ("dwa", 0.2))
        for student in ("ddbench/convnet3", "timm/resnet10t")
        for d in range(3)
        for e in range(3)
    ]
    loaded = kept(tmp_path, *made)
    (table,) = summary(loaded.records, sidecars=loaded.sidecars)
    average = next(row.average for row in table.rows if row.label == "dwa")
    assert average.hits is not None
    assert average.difference.verdict == 1
    assert average.rank == (1, 1)
