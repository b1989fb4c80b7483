"""What a person did wrong, as opposed to what this project did wrong."""


class UserError(Exception):
    """A mistake in what was given (configuration, data, checkpoint, path), told in one line with its fix.

    The command line prints it without a traceback and exits with 2.
    """
