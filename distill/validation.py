"""How the student is judged while it trains, and the best of it kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator

from distill import build
from distill.config import MIN_SIDE, Config
from distill.engine import statistics
from distill.engine.folder import RunFolder
from distill.engine.sharing import judge_shared
from distill.engine.state import TrainState
from distill.engine.tracking import Tracker, console
from distill.evaluation import Evaluation, Network, eval_mode, gather
from distill.method import Method
from distill.panels import method_panels
from distill.report import panel_strip
from students import save_student
from teachers import FrozenTeacher


@dataclass
class Validation:
    """Judges the student by all processes together and, by the main one, writes the best so far to `student/`."""

    accelerator: Accelerator
    config: Config
    folder: RunFolder
    data: build.Data
    teacher: FrozenTeacher | None
    method: Method
    tracker: Tracker
    state: TrainState

    def __call__(self, interrupted: Callable[[], bool]) -> None:
        """Validate at this step, unless interrupted: then it counts as not done."""
        statistics.merge(self.accelerator, self.method)
        results = self.judge(interrupted)
        if results is None:
            return
        state = self.state
        self.tracker.log("val", state.step, results.metrics)
        if results.metrics["abs_rel"] < state.best and self.keep(results):
            state.best, state.best_step = results.metrics["abs_rel"], state.step
        if self.accelerator.is_main_process:
            self.show(results)
        state.validated = state.step

    def judge(self, interrupted: Callable[[], bool]) -> Evaluation | None:
        """The student's results on the test half, by the run's protocol; None if interrupted."""
        assert self.data.test is not None
        student, protocols = self.method.student, [self.data.protocol]
        size = self.config.data.size
        network = Network(student, self.data.protocol, self.accelerator.device, size, min_side=MIN_SIDE)
        with eval_mode(student):
            outcomes = judge_shared(network, self.data.test, protocols, self.accelerator, interrupted=interrupted)
        return None if outcomes is None else gather(outcomes, protocols, network.seconds, size)[0]

    def keep(self, results: Evaluation | None) -> bool:
        """Write the student of this moment, with what should be known of it, and return whether it could be."""
        if not self.accelerator.is_main_process:
            return True
        config = self.config
        metadata: dict[str, Any] = {
            "method": config.method.name,
            "teacher": config.teacher.name if self.method.needs_teacher else None,
            "data": config.data.name,
            "step": self.state.step,
            "input_size": config.data.input_size,
        }
        if results is not None:
            metadata |= {"protocol": results.protocol.name, "fingerprint": results.protocol.fingerprint}
            metadata |= {"metrics": results.metrics}
        try:
            save_student(self.method.student, self.folder.student, metadata)
        except OSError as error:
            console.print(f"student not written ({error}); the run goes on", style="yellow", highlight=False)
            return False
        return True

    def show(self, results: Evaluation) -> None:
        """A line on the screen, a picture for TensorBoard."""
        said = ", ".join(f"{name} {results.metrics[name]:.4g}" for name in ("abs_rel", "rmse", "d1"))
        console.print(f"step {self.state.step}: {said} on {len(results.images)} images", highlight=False)
        if self.teacher is None and self.method.needs_teacher:
            return
        for panel in method_panels(self.method, self.teacher, self.data, self.config.data.size, [0]):
            self.tracker.picture(f"panels/{panel.name}", self.state.step, panel_strip(panel))
