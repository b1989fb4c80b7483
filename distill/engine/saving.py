"""When a run saves its state, and what happens where it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from accelerate import Accelerator

from distill.config import Config
from distill.engine import statistics
from distill.engine.checkpoint import Checkpoints
from distill.engine.folder import RunFolder
from distill.engine.processes import on_main
from distill.engine.state import Resumable
from distill.engine.tracking import console
from distill.errors import UserError


@dataclass
class Saving:
    """Writes the state of a run, by its main process, and returns whether it could.

    A full disk or a vanished folder is said, and ends the run only where `train.if_not_saved` is "stop".
    """

    accelerator: Accelerator
    config: Config
    folder: RunFolder
    checkpoints: Checkpoints
    moment: Resumable

    def __call__(self) -> bool:
        statistics.merge(self.accelerator, self.moment.method)
        return on_main(self.accelerator, self._write)

    def _write(self) -> bool:
        try:
            if not self.folder.config.is_file():
                console.print(f"{self.folder.path} has vanished; it is made anew", style="yellow", highlight=False)
                self.folder.begin(self.config)
            self.checkpoints.save(self.moment.state.step, self.moment.capture())
        except OSError as error:
            self._tell(error)
            return False
        return True

    def _tell(self, error: OSError) -> None:
        last = next((path.name for path in self.checkpoints.paths()), "none")
        said = f"checkpoint of step {self.moment.state.step} not written ({error}); the last good one is {last}"
        if self.config.train.if_not_saved == "stop":
            raise UserError(f"{said}. Make room and continue with --resume, or set train.if_not_saved=go_on")
        console.print(f"{said}, the run goes on", style="yellow", highlight=False)
