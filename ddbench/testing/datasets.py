"""What every dataset source must keep to; a subclass names its source and inherits the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from ddbench.data import open_prepared, prepare
from ddbench.data.opening import check_name
from ddbench.errors import DataMissing, Offline
from ddbench.networks import resolve
from ddbench.plugins import Plugins
from ddbench.testing.guards import nothing_global_changes

if TYPE_CHECKING:
    from ddbench.data import Prepared


class DatasetConformance:
    """Contracts of a dataset source, each a test. Set `source`; the rest has defaults.

    A source that ships a folder, or that prepares itself from nothing, is looked at as it is; one that downloads, or needs original
    files, where `originals` names a folder that holds them. The other tests are skipped.
    """

    source: ClassVar[Any]
    originals: ClassVar[Path | None] = None

    def prepared(self, root: Path) -> Prepared:
        """Return the dataset: opened where it is shipped, else prepared under `root`; skips where files are missing."""
        if self.source.folder is not None:
            return open_prepared(self.source.folder, name=self.source.name, cached=False)
        return self.written(root)

    def written(self, root: Path) -> Prepared:
        """Return the dataset as its `prepare` writes it, without downloading; skips where files are missing."""
        try:
            return prepare(self.source, root, originals=self.originals and Path(self.originals), offline=True)
        except (DataMissing, Offline) as missing:
            pytest.skip(f"its files are not here ({missing}); name their folder as `originals`")

    def test_its_name_can_be_a_folders(self) -> None:
        """Name it with letters, digits, `-`, `_` and `.`."""
        check_name(self.source.name)

    def test_it_says_where_it_comes_from_and_what_a_download_takes(self) -> None:
        """Give a `description`, an `origin`, and the size of the download in bytes, 0 where nothing is downloaded."""
        assert self.source.description, "it has no description"
        assert self.source.origin, "it does not say where it comes from"
        assert isinstance(self.source.download_bytes, int), f"download_bytes is {self.source.download_bytes!r}"
        assert self.source.download_bytes >= 0, f"download_bytes is {self.source.download_bytes}"

    def test_offline_it_downloads_nothing(self, tmp_path: Path) -> None:
        """Raise `Offline` before a download where `offline` is true; `ddbench.data.fetch.fetch` does."""
        if not self.source.download_bytes:
            pytest.skip("it downloads nothing")
        with pytest.raises((Offline, DataMissing)):
            prepare(self.source, tmp_path, offline=True)

    def test_both_splits_hold_readable_images_of_every_class(self, tmp_path: Path) -> None:
        """Write train and test with `ddbench.data.write_prepared`, every class present in both."""
        data = self.prepared(tmp_path)
        facts = data.facts
        for name, split in (("train", data.train), ("test", data.test)):
            missing = sorted(set(range(facts.num_classes)) - set(np.unique(split.labels).tolist()))
            assert missing == [], f"{name} holds no image of {facts.classes[missing[0]]!r}" if missing else ""
            first = split.gather(np.arange(min(64, len(split))))
            assert first.dtype == np.uint8, f"images of {name} are {first.dtype}"
            assert first.shape[1:] == facts.shape, f"images of {name} are {first.shape[1:]}, not {facts.shape}"
            assert first.min() < first.max(), f"the first images of {name} are all of one value"

    def test_prepared_again_it_is_the_same_dataset_with_the_same_class_order(self, tmp_path: Path) -> None:
        """Sort what a file system lists, draw from a seeded generator, and list classes in a fixed order."""
        first, second = self.written(tmp_path / "first"), self.written(tmp_path / "second")
        assert first.facts.classes == second.facts.classes, "prepared twice, its classes stand in another order"
        assert first.facts.sha256 == second.facts.sha256, "prepared twice, it holds other images or labels"
        assert dict(first.order_sha256) == dict(second.order_sha256), "prepared twice, its images stand in another order"

    def test_no_test_image_is_a_train_image(self, tmp_path: Path) -> None:
        """Cut the splits apart before anything is copied, augmented or drawn."""
        data = self.prepared(tmp_path)
        sizes = {len(split) for split in (data.train, data.test)}
        if max(sizes) > 20_000:
            pytest.skip("too many images to compare")
        train, test = ({image.tobytes() for image in split.gather(np.arange(len(split)))} for split in (data.train, data.test))
        assert not train & test, f"{len(train & test)} images are in both splits"

    def test_its_defaults_name_what_there_is(self, tmp_path: Path) -> None:
        """Name a protocol, a teacher and students that exist in `defaults`, or give None for those of the image size."""
        defaults = self.source.defaults
        if defaults is None:
            pytest.skip("it brings no defaults")
        facts, plugins = self.prepared(tmp_path).facts, Plugins()
        plugins.get("protocol", defaults.protocol)
        for name in (defaults.teacher, *defaults.students):
            resolve(name, plugins.all("network"), shape=facts.shape, num_classes=facts.num_classes)
        assert 0 < defaults.ipc <= min(facts.counts), f"ipc {defaults.ipc} is more than a class has ({min(facts.counts)})"

    def test_nothing_global_is_changed(self, tmp_path: Path) -> None:
        """Draw from a generator of your own, seeded with a number that stands in the code."""
        with nothing_global_changes():
            self.written(tmp_path)
