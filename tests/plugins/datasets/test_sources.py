"""The plugin as a whole: what it registers, and what it costs to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ddbench import DatasetSource
from ddbench.data import open_dataset
from ddbench.errors import DataMissing
from ddbench_plugins.datasets import ddbench_datasets
from ddbench_plugins.datasets.imagenet import ImageNetSource
from ddbench_plugins.datasets.subsets import SUBSETS

SOURCES = {source.name: source for source in ddbench_datasets()}

GLAD = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
    "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
    "imagenet-geo": (980, 970, 975, 974, 973, 977, 976, 978, 972, 979),
    "imagenet-food": (933, 934, 932, 963, 930, 928, 924, 959, 931, 927),
    "imagenet-mammals": (386, 387, 354, 340, 338, 104, 103, 279, 334, 366),
    "imagenet-marine": (148, 2, 397, 327, 33, 150, 107, 108, 119, 392),
    "imagenet-a": (255, 376, 984, 364, 500, 986, 333, 576, 148, 135),
    "imagenet-b": (129, 916, 90, 275, 995, 874, 102, 259, 685, 139),
    "imagenet-c": (565, 94, 554, 535, 92, 392, 291, 136, 324, 11),
    "imagenet-d": (9, 258, 13, 262, 19, 339, 321, 24, 93, 322),
    "imagenet-e": (816, 96, 100, 145, 739, 713, 783, 76, 688, 326),
}
"""ImageNet-1k class indices, as GLaD's released configuration lists them."""


def test_every_source_is_one_and_has_its_own_name():
    assert all(isinstance(source, DatasetSource) for source in SOURCES.values())
    assert len(SOURCES) == len(list(ddbench_datasets())) == 21


def test_the_subsets_are_glads_class_indices_in_order():
    from timm.data import ImageNetInfo

    wnids = sorted(ImageNetInfo().label_names())
    assert len(wnids) == 1000
    assert {name: tuple(wnids.index(wnid) for wnid in ids.split()) for name, (_, ids) in SUBSETS.items()} == GLAD


def test_registering_the_sources_imports_neither_numpy_nor_torch():
    code = (
        "import sys; from ddbench_plugins.datasets import ddbench_datasets; ddbench_datasets();"
        "print(sorted({'numpy', 'torch', 'torchvision', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "digits"])
def test_without_network_and_data_every_source_says_what_to_do(tmp_path, name):
    with pytest.raises(DataMissing, match=rf"not in .*data; run ddbench data prepare {name} (--from DIR|\(downloads \d+ MB from)"):
        open_dataset(name, roots=[tmp_path / "data"], sources=SOURCES, offline=True)


def test_only_sources_that_can_be_downloaded_say_a_size():
    assert {name for name, source in SOURCES.items() if source.download_bytes} == {
        "cifar10",
        "cifar100",
        "fashion-mnist",
        "tiny-imagenet",
    }
    assert all(source.download_bytes == 0 for source in SOURCES.values() if isinstance(source, ImageNetSource))
