"""What a run's models achieve by its protocol, be it of depth or of classes: one table says who measures which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from distill.data import DepthDataset, Sample
from distill.evaluation import Evaluation, Protocol, gather
from distill.evaluation.scores import Size
from distill.evaluation.segmentation import ClassProtocol, Segmentation
from distill.inference.evaluating import Processes, evaluate, evaluate_shared
from distill.inference.network import Network, eval_mode, protocols_for
from distill.inference.segmenting import segment, segment_shared
from teachers import DepthModel

Measured = Evaluation | Segmentation
Done = Callable[[str], object]  # called with the name of every sample


@dataclass(frozen=True)
class Scorer:
    """Measures depth by a protocol, of models on a device; images are resized to `size` for them."""

    protocol: Protocol
    device: torch.device
    size: Size | None

    def alone(self, model: DepthModel, samples: Iterable[Sample], done: Done, without: Sequence[str] = ()) -> Measured:
        """In this process; `without` are names of further images, known to have no truth.

        Raises:
            UserError: If no sample has a score.
        """
        return evaluate(
            model,
            samples,
            self.protocol,
            device=self.device,
            size=self.size,
            progress=lambda _, name: done(name),
            without_truth=without,
        )

    def shared(
        self, model: DepthModel, dataset: DepthDataset, processes: Processes, interrupted: Callable[[], bool]
    ) -> Measured | None:
        """By all processes together, on every one the whole; None if interrupted."""
        protocols = protocols_for(model, [self.protocol])
        network = Network(model, self.protocol, self.device, self.size)
        with eval_mode(model):
            outcomes = evaluate_shared(network, dataset, protocols, processes, interrupted=interrupted)
        return None if outcomes is None else gather(outcomes, protocols, network.seconds, self.size)[0]


class ClassScorer(Scorer):
    """Measures classes."""

    def alone(self, model: DepthModel, samples: Iterable[Sample], done: Done, without: Sequence[str] = ()) -> Measured:
        """In this process."""
        with eval_mode(model):
            return segment(self.network(model), samples, self.nothing(), progress=done)

    def shared(
        self, model: DepthModel, dataset: DepthDataset, processes: Processes, interrupted: Callable[[], bool]
    ) -> Measured | None:
        """By all processes together, on every one the whole; None if interrupted."""
        with eval_mode(model):
            return segment_shared(self.network(model), dataset, self.nothing(), processes, interrupted=interrupted)

    def network(self, model: DepthModel) -> Network:
        """The model, which takes images of any size."""
        return Network(model, self.protocol, self.device, self.size)

    def nothing(self) -> Segmentation:
        """What is measured before the first image."""
        assert isinstance(self.protocol, ClassProtocol)
        return Segmentation(self.protocol, input_size=self.size)


SCORERS: dict[type[Protocol], type[Scorer]] = {Protocol: Scorer, ClassProtocol: ClassScorer}


def scorer_of(protocol: Protocol, device: torch.device, size: Size | None) -> Scorer:
    """Who measures by a protocol."""
    return SCORERS[type(protocol)](protocol, device, size)
