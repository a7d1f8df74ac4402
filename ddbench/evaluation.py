"""What evaluators are given: a distilled set, or a student once its training is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadRequest
from ddbench.training.loop import RunSettings
from ddbench.training.predict import TestImages, answered, logits

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
    needs: Mapping[str, Any] = field(default_factory=dict)
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

    def answers(self, pixels: Tensor) -> Tensor:
        """Return float32 (N, classes), on the device: the student's answers to uint8 pixels, or float32 ones in [0, 1].

        They are differentiable where the pixels carry a gradient.
        """
        return answered(self.student.module, pixels, self._images(), self.view, self._run())

    def logits(self) -> Tensor:
        """Return float32 (N, classes), on the CPU; made once and shared by every evaluator."""
        if self._logits is None:
            self._logits = logits(self.student.module, self._images(), self.view, self._run()).cpu()
        return self._logits

    def predictions(self) -> Tensor:
        """Return int64 (N,), on the CPU."""
        return self.logits().argmax(dim=1)

    def _images(self) -> TestImages:
        student, size = self.student, self.facts.shape[1:]
        return TestImages(self.test.images, len(self.test), student.mean, student.std, size, self.whitening)

    def _run(self) -> RunSettings:
        return RunSettings(self.device, self.precision, note=self.notes.append)
