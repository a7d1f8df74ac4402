"""pretrained: published weights, here published by this test on its own machine."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.data.imagenet_info import ImageNetInfo

from ddbench.errors import BadRequest, DataMissing, Offline, TeacherMismatch
from ddbench.networks import build, resolve
from ddbench_plugins.networks import ddbench_networks
from ddbench_plugins.teachers import Pretrained, published
from ddbench_plugins.teachers.pretrained import PretrainedOptions
from ddbench_plugins.teachers.published import Published, fetch, find, imagenet_ids, is_cached

CLASSES = ("ant", "bee", "cat", "dog")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without telling."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def site(tmp_path):
    """Serve a folder from this machine and give the folder and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what torch.hub downloads inside the test."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def offered(site, weights):
    """Publish the toy's perfect weights under a name that holds their hash, as torchvision's do."""
    folder, address = site
    torch.save(weights, folder / "linear.pth")
    name = f"linear-{hashlib.sha256((folder / 'linear.pth').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "linear.pth").rename(folder / name)
    return Published("toy/linear V1", "torchvision", f"{address}/{name}", [CLASSES], (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))


@pytest.fixture
def make(context, spec, offered, monkeypatch):
    """Make the teacher from what the test publishes."""

    def train(*, what=None, **options):
        monkeypatch.setattr(published, "find", lambda *_: what or offered)
        return Pretrained().train(context, PretrainedOptions(**options), spec)

    return train


def families():
    return {family.name: family for family in ddbench_networks()}


def test_weights_are_fetched_once_and_loaded_with_the_published_normalisation(make, cache, offered, weights, capsys):
    teacher = make()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in teacher.module.state_dict().items())
    assert teacher.mean.tolist() == pytest.approx(offered.mean)
    assert teacher.card["train_top1"] == 1.0
    assert [path.name for path in cache.iterdir()] == [offered.address.rpartition("/")[2]]
    assert capsys.readouterr().out == ""


def test_offline_takes_what_is_there_and_refuses_to_download(make, context, offered):
    context.offline = True
    with pytest.raises(Offline, match=r"toy/linear V1 would be downloaded from http://127\.0\.0\.1"):
        make()
    context.offline = False
    make()
    context.offline = True
    assert is_cached(offered)
    assert make().card["train_top1"] == 1.0


def test_another_address_can_be_given(make, offered, site):
    moved = replace(offered, address="http://127.0.0.1:9/gone.pth")
    assert make(what=moved, url=offered.address).card["train_top1"] == 1.0


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/linear.pth", "{site}/absent.pth"])
def test_an_address_that_does_not_answer_is_an_error_of_one_sentence(make, offered, site, address):
    gone = replace(offered, address=address.format(site=site[1]))
    with pytest.raises(DataMissing, match=r"toy/linear V1 cannot be fetched from http.*; check the network"):
        make(what=gone)


def test_a_file_that_is_not_what_its_name_promises_is_refused(make, offered, site):
    folder, address = site
    (folder / "linear-00000000.pth").write_bytes(next(folder.iterdir()).read_bytes())
    with pytest.raises(DataMissing, match="invalid hash value"):
        make(what=replace(offered, address=f"{address}/linear-00000000.pth"))


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_published_code_is_never_run(make, offered, site):
    folder, address = site
    torch.save({"state_dict": Evil()}, folder / "evil.pth")
    with pytest.raises(DataMissing, match="cannot be fetched"):
        make(what=replace(offered, address=f"{address}/evil.pth"))


def test_weights_for_other_classes_are_refused_before_they_are_fetched(make, offered, cache):
    with pytest.raises(TeacherMismatch, match="class 1 is 'cat' there and 'bee'"):
        make(what=replace(offered, class_lists=[("ant", "cat", "bee", "dog")]))
    assert not cache.exists()


def test_imagenets_classes_go_by_wordnet_ids_and_by_readable_names():
    ids = imagenet_ids()
    assert ids == tuple(sorted(ids))
    assert (len(ids), ids[0], ids[207]) == (1000, "n01440764", "n02099601")
    found = find("torchvision/resnet18", "IMAGENET1K_V1")
    assert found.class_lists[0][207] == "golden retriever"
    assert found.class_lists[1] == ids
    assert ids in find("timm/resnet18", "tv_in1k").class_lists


def test_the_papers_normalisation_and_address_come_with_torchvisions_weights():
    found = find("torchvision/resnet18", "default")
    assert (found.label, found.mean, found.std) == (
        "torchvision/resnet18 IMAGENET1K_V1",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    assert found.address == torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url


def test_timms_weights_of_more_classes_go_by_their_own_list():
    found = find("timm/convnext_tiny", "fb_in22k")
    assert found.class_lists[0] == tuple(ImageNetInfo("imagenet-22k").label_names())


@pytest.mark.parametrize(
    ("network", "weights", "said"),
    [
        ("ddbench/resnet18", "default", r"nobody publishes weights for ddbench/resnet18; name torchvision's or timm's"),
        ("torchvision/resnet18", "V7", r"no weights 'V7'; it has: IMAGENET1K_V1"),
        ("timm/resnet18", "v7", r"no weights resnet18\.v7; it has: resnet18\.a1_in1k"),
    ],
)
def test_weights_that_nobody_publishes_are_refused_with_what_there_is(network, weights, said):
    with pytest.raises(BadRequest, match=said):
        find(network, weights)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/test_resnet"])
def test_published_names_and_shapes_are_those_of_the_network_that_ddbench_builds_at_224(name):
    spec = resolve(name, families(), shape=(3, 224, 224), num_classes=1000)
    library, _, bare = name.partition("/")
    theirs = torchvision.models.resnet18() if library == "torchvision" else timm.create_model(bare)
    ours = build(spec, families(), seed=0).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.state_dict().items()}


def test_timms_weights_are_read_from_the_hubs_cache_without_a_network(monkeypatch, tmp_path):
    donor = timm.create_model("test_resnet", num_classes=1000).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in donor.items()}, tmp_path / "model.safetensors")
    found = find("timm/test_resnet", "default")
    monkeypatch.setattr(
        published, "_hub_file", lambda repository: tmp_path / "model.safetensors" if repository == found.address else None
    )
    before = torch.get_rng_state()
    read = fetch(found, url="", offline=True)
    assert all(torch.equal(read[name], tensor) for name, tensor in donor.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_timms_weights_that_are_not_cached_are_refused_offline(monkeypatch):
    monkeypatch.setattr(published, "_hub_file", lambda _: None)
    with pytest.raises(Offline, match=r"timm/test_resnet\.r160_in1k would be downloaded from timm/test_resnet"):
        fetch(find("timm/test_resnet", "default"), url="", offline=True)
