"""How the student is evaluated while it trains, and the best of it kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator
from timm.utils import ModelEmaV3

from distill.assembly.datasets import RunData
from distill.assembly.teaching import TeacherFacts
from distill.config import Config
from distill.console import inform, printable, warn
from distill.engine.run_folder import RunFolder
from distill.engine.state import TrainState
from distill.engine.step import merge_statistics
from distill.engine.tracking import Tracker
from distill.evaluation.results import cost_of
from distill.inference.measuring import Measured, scorer_of
from distill.inference.panels import method_panels
from distill.method import Method
from distill.report.pictures import panel_strip
from distill.report.tables import short_text
from students import Student, save_student
from teachers import DepthModel, FrozenTeacher


@dataclass
class Validation:
    """Evaluates the student by all processes together and, by the main one, writes the best so far to `student/`."""

    accelerator: Accelerator
    config: Config
    folder: RunFolder
    data: RunData
    teacher: FrozenTeacher | None
    facts: TeacherFacts | None
    method: Method
    tracker: Tracker
    state: TrainState
    average: ModelEmaV3 | None = None

    @property
    def student(self) -> DepthModel:
        """The weights that are evaluated and kept: their average where there is one."""
        if self.average is None:
            return self.method.student
        assert isinstance(self.average.module, DepthModel)
        return self.average.module

    def __call__(self, interrupted: Callable[[], bool]) -> None:
        """Validate at this step, unless interrupted: then it counts as not done."""
        merge_statistics(self.accelerator, self.method, self.average)
        results = self.evaluate(interrupted)
        if results is None:
            return
        state = self.state
        self.tracker.log("val", state.step, results.metrics)
        if (cost := cost_of(results.metrics)) < state.best and self.keep(results):
            state.best, state.best_step = cost, state.step
        if self.accelerator.is_main_process:
            self.show(results)
        state.validated = state.step

    def evaluate(self, interrupted: Callable[[], bool]) -> Measured | None:
        """The student's results on the test half, by the run's protocol; None if interrupted."""
        assert self.data.test is not None
        scorer = scorer_of(self.data.protocol, self.accelerator.device, self.config.data.size)
        return scorer.shared(self.student, self.data.test, self.accelerator, interrupted)

    def keep(self, results: Measured | None) -> bool:
        """Have the main process write the student as it is now, and return whether it could be written."""
        try:
            if self.accelerator.is_main_process:
                self.write(results)
        except OSError as error:
            warn(f"student not written ({error}); the run goes on")
            return False
        return True

    def write(self, results: Measured | None) -> None:
        """Write the student as it is now, with its results."""
        config, facts = self.config, self.facts
        metadata: dict[str, object] = {
            "method": config.method.name,
            "teacher": facts.name if facts else None,
            "teacher_licence": facts.licence if facts else None,
            "teacher_revision": (facts.revision or None) if facts else None,
            "teacher_fingerprint": facts.fingerprint if facts else None,
            "teacher_labels": bool(facts and facts.labels),
            "data": "+".join(dict.fromkeys(one.name for one in config.data.training_sources)),
            "step": self.state.step,
            "input_size": config.data.input_size,
        }
        if results is not None:
            metadata |= {"protocol": results.protocol.name, "fingerprint": results.protocol.fingerprint}
            metadata |= {"metrics": results.metrics}
        assert isinstance(self.student, Student)  # any other could not be built again
        save_student(self.student, self.folder.student, metadata)

    def show(self, results: Measured) -> None:
        """A line on the screen, a picture for TensorBoard."""
        inform(f"step {self.state.step}: {short_text(results.metrics)} on {len(results.images)} images")
        if self.data.test is None or (self.teacher is None and self.facts is not None and not self.facts.labels):
            return
        options = self.data.test, self.data.protocol, self.config.data.size
        learning, self.method.student = self.method.student, self.student
        try:
            panels = method_panels(self.method, self.teacher, *options, [0])
        finally:
            self.method.student = learning
        for panel in panels:
            self.tracker.picture(f"panels/{printable(panel.name)}", self.state.step, panel_strip(panel))
