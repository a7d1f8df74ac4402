"""What evaluators are given, once a student's training is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest
from ddbench.training.loop import RunSettings
from ddbench.training.predict import TestImages, logits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.api.context import Precision
    from ddbench.api.dataset import DatasetFacts, TrainSplit
    from ddbench.api.network import TrainedNetwork
    from ddbench.api.protocol import TestView
    from ddbench.data import TestSplit
    from ddbench.distilled import DistilledSet
    from ddbench.training.zca import Whitening


@dataclass
class StudentEvaluation:
    """A trained student, its set and the test split (`ddbench.EvaluationContext`)."""

    facts: DatasetFacts
    train: TrainSplit
    distilled: DistilledSet
    trained: TrainedNetwork | None
    """None in scope `set`."""
    teacher: TrainedNetwork | None
    soft_label_bytes: int
    device: torch.device
    generator: torch.Generator
    test: TestSplit
    view: TestView
    precision: Precision
    whitening: Whitening | None = None
    """How test images are whitened, where the student learned from a set in the space `zca`."""
    notes: list[str] = field(default_factory=list)
    """One line for each thing that did not go as `precision` says while the student was tested."""
    _logits: Tensor | None = field(default=None, repr=False)

    @property
    def student(self) -> TrainedNetwork:
        """The trained student; reading it in scope `set` raises BadRequest."""
        if self.trained is None:
            raise BadRequest("an evaluator of scope 'set' is not shown a student; give it scope 'student'")
        return self.trained

    def test_labels(self) -> Tensor:
        """Return int64 (N,), on the CPU."""
        return self.test.labels().cpu()

    def test_images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device."""
        return self.test.images(index)

    def logits(self) -> Tensor:
        """Return float32 (N, classes), on the CPU; made once and shared by every evaluator."""
        if self._logits is None:
            student = self.student
            size = self.facts.shape[1:]
            images = TestImages(self.test.images, len(self.test), student.mean, student.std, size, self.whitening)
            run = RunSettings(self.device, self.precision, note=self.notes.append)
            self._logits = logits(student.module, images, self.view, run).cpu()
        return self._logits

    def predictions(self) -> Tensor:
        """Return int64 (N,), on the CPU."""
        return self.logits().argmax(dim=1)
