"""What can go wrong, each with the exit code that the command line answers with.

A message is one line: what was wrong, where (file, id), and what to do.
"""


class SambenchError(Exception):
    """A failure that is the world's, not the program's: reported as one line, never as a traceback."""

    exit_code = 1


class UsageError(SambenchError):
    """What was asked for cannot be started: unknown names, unusable files or options, nothing to run."""

    exit_code = 2


class DataError(SambenchError):
    """One sample cannot be read. The run goes on, lists the sample in ``errors.jsonl`` and ends incomplete."""
