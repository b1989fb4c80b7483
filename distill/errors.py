"""How a command can end early: by a person's mistake, or by a signal."""

import signal


class UserError(Exception):
    """A mistake in what was given (configuration, data, checkpoint, path), told in one line with its fix.

    The command line prints it without a traceback and exits with 2.
    """


class Interrupted(Exception):
    """A command stopped by a signal. `state` says what became of its state, `way_on` how to continue it.

    `code` is the process's exit code, 128 + signal.
    """

    def __init__(self, number: int, way_on: str = "continue with --resume", state: str = "the state is saved") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {state}, {way_on}")
        self.code = 128 + number
