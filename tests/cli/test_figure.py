"""`ddbench figure` from real, small runs on digits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import ddbench
from ddbench.cli.app import app
from ddbench.cli.figure import KINDS
from ddbench.report.figures import kinds
from factory import a_record

SMALL = {
    "protocol": "quick-soft/1",
    "students": ["convnet1-w32"],
    "teacher": "convnet1-bn-w32",
    "distill_seeds": 1,
    "eval_seeds": 1,
    "smoke": 0.05,
    "threads": 1,
}
FROM_RUNS = {
    "ipc": [],
    "bytes": [],
    "cost": [],
    "curves": ["--ipc", "2"],
    "images": ["--ipc", "2"],
    "tsne": ["--ipc", "2", "--classes", "4"],
    "distance": ["--ipc", "2"],
    "sweep": ["--ipc", "2", "--option", "r_var"],
    "heatmap": ["--ipc", "2", "--option", "r_var", "--option", "rho"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with random and DWA at two ipc, four settings of DWA, all measured; and a walk through an untrained generator."""
    folder = tmp_path_factory.mktemp("figures") / "store"
    asked = ["top1", "storage", "diversity", "embeddings"]
    options = {"teacher.epochs": 1, "iterations": 2, "embeddings.real": 12}
    for ipc, r_var, rho in ((1, 11.0, 0.015), (2, 11.0, 0.015), (2, 1.0, 0.015), (2, 11.0, 0.1), (2, 1.0, 0.1)):
        ddbench.run("dwa", store=folder, ipc=ipc, evaluators=asked, options={**options, "r_var": r_var, "rho": rho}, **SMALL)
    return folder


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walked") / "store"
    options = {"prior": "random", "iterations": 6, "keep_walk": True, "select_every": 1, "selector": "loss"}
    hard = {**SMALL, "protocol": "quick-hard/1", "teacher": None}
    ddbench.run("hglad", store=folder, ipc=1, options=options, **hard)
    return folder


def asked(store, kind, *more):
    return CliRunner().invoke(app, ["figure", kind, "--store", str(store), *more])


def test_the_command_names_every_kind():
    assert tuple(kind.name for kind in kinds.KINDS) == KINDS
    assert set(FROM_RUNS) | {"walk"} == set(KINDS)


@pytest.mark.parametrize("kind", FROM_RUNS)
def test_every_kind_is_drawn_from_records_of_real_runs(kind, store, tmp_path):
    out = tmp_path / "figure.png"
    result = asked(store, kind, *FROM_RUNS[kind], "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["files"] == [str(out)]
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "quick-soft/1" in told["caption"]
    assert "SMOKE" in told["caption"]
    assert told["data"]


def test_the_map_shows_each_method_and_the_same_real_images(store):
    told = json.loads(asked(store, "tsne", *FROM_RUNS["tsne"], "--where", "r_var=11", "--where", "rho=0.015", "--json").stdout)
    methods = told["data"]["methods"]
    assert {label.partition(" ")[0] for label in methods} == {"random", "dwa"}
    assert all(one["labels"] == [0, 1, 2, 3, 0, 1, 2, 3] for one in methods.values())
    assert len(told["data"]["real"]["points"]) == 4 * 12


def test_distances_by_class_average_to_the_records_metric(store):
    told = json.loads(asked(store, "distance", "--ipc", "2", "--where", "r_var=11", "--where", "rho=0.015", "--json").stdout)
    (dwa,) = [values for label, values in told["data"]["methods"].items() if label.startswith("dwa")]
    records = [
        record
        for record in ddbench.load_records(store)
        if (record.cell.synthesizer, record.cell.ipc) == ("dwa", 2)
        and (record.options["synthesizer"].values["r_var"], record.options["synthesizer"].values["rho"]) == (11, 0.015)
    ]
    assert sum(dwa["mean"]) / 10 == pytest.approx(records[0].metric("within_class_distance"))


def test_a_walk_is_drawn_space_by_space(walked, tmp_path):
    result = asked(walked, "walk", "--out", str(tmp_path / "walk"), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [path.rpartition(".")[2] for path in told["files"]] == ["svg", "png"]
    data = told["data"]
    assert data["spaces"] == ["w+", "f1", "f2"]
    assert (data["ends"], len(data["loss"])) == ([2, 4, 6], 6)
    assert all(start <= chosen <= end for start, chosen, end in zip([0, *data["ends"]], data["chosen"], data["ends"], strict=False))
    assert "images that each space ends with" in told["caption"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["curves"], "records of 2 different ipc share no axes: 1, 2; choose with --ipc"),
        (["walk"], "no set here was made by a walk through a generator; make one with: ddbench run hglad -o keep_walk=true"),
        (["ipc", "--metric", "ece"], "no record here has the metric 'ece'"),
        (["ipc", "--dataset", "cifar10"], "no record has dataset 'cifar10'; the records have: digits"),
        (["ipc", "--method", "dwaa"], "no record has method 'dwaa'; did you mean 'dwa'? the records have: dwa, random"),
        (["ipc", "--student", "resnet"], "no record has student 'resnet'"),
        (["ipc", "--where", "nope=1"], "no record has option 'nope'; the records have: "),
        (["ipc", "--where", "rhoo=1"], "no record has option 'rhoo'; did you mean 'rho'?"),
        (["ipc", "--where", "rho=7"], "no record has rho '7'; the records have: 0.015, 0.1"),
        (["ipc", "--ipc", "1", "--where", "rho=0.1"], "no record has rho '0.1'; the records have: 0.015"),
        (["ipc", "--method", "random", "--where", "rho=0.1"], "no record has option 'rho'; the records have: none"),
        (["ipcs"], "unknown figure 'ipcs'. Did you mean 'ipc'? See: ddbench figure --help"),
        (["ipc", "--out", "figure.gif"], "figures are written as .svg, .png, .pdf"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(store, more, sentence):
    result = asked(store, *more)
    assert result.exit_code != 0
    assert sentence in result.stderr


def test_without_any_record_the_command_that_makes_some_is_told(tmp_path):
    result = asked(tmp_path / "none", "ipc", "--dataset", "cifar10", "--where", "rho=1")
    assert "no record matches; make some with: ddbench run dwa" in result.stderr


def test_sets_are_chosen_by_what_labels_show_of_their_parts_too(tmp_path):
    def walked(network, lr):
        blocks = {"synthesizer": {"lr": lr, "spaces": ["f1"], "kept": True}, "objective": {"network": network}}
        options = {part: {"values": values, "sources": dict.fromkeys(values, "suite")} for part, values in blocks.items()}
        return a_record(synthesizer="glad", options=options, key=network, distilled_sha256=network)

    def drawn(*where):
        words = [word for one in where for word in ("--where", one)]
        result = asked(tmp_path / "store", "ipc", "--records", str(tmp_path), *words, "--json")
        return sorted(point["label"] for point in json.loads(result.stdout)["data"]["points"])

    for record in (walked("convnet2", 1.23456789), walked("convnet3", 1.2345), a_record()):
        (tmp_path / f"{record.key}.json").write_text(record.model_dump_json(), "utf-8")
    for where in ("objective.network=convnet2", "lr=1.23456789"):
        labels = drawn(where)
        assert [label.partition(" ")[0] for label in labels] == ["glad", "random"]
        assert "convnet2" in labels[0]
    assert len(drawn('spaces=["f1"]', "kept=true")) == 3


def test_drawing_imports_no_torch(store, tmp_path):
    where = ["--store", str(store), "--out", str(tmp_path / "x.png")]
    lines = [["figure", kind, *FROM_RUNS[kind], *where] for kind in ("ipc", "images", "tsne", "distance")]
    draw = "; ".join(f"app({words!r}, standalone_mode=False)" for words in lines)
    check = "assert not {'torch', 'torchvision', 'timm', 'ray'} & set(sys.modules), sorted(sys.modules)"
    code = f"import sys; from ddbench.cli.app import app; {draw}; {check}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
