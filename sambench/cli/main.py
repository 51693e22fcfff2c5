"""The command line: verbs that parse, call and print. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys

import click

# Each registers its verbs.
from sambench.cli import bench, data, report, run, score, show  # noqa: F401
from sambench.cli.common import cli
from sambench.cli.interrupts import INTERRUPTED
from sambench.errors import SambenchError

__all__ = ["cli", "main"]


def main() -> None:
    """The console script. Exits with 0 complete, 1 incomplete or failed, 2 usage or nothing to run, 130 interrupted."""
    # By default torch's threads (libgomp) spin for milliseconds while they wait, which stalls everything as soon as
    # another process wants a core. Fewer turns cost nothing on an idle machine and save 40 % of a decoder call on a
    # busy one (measured on two cores: 22 ms idle either way; 62 instead of 106 ms). Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    if "_SAMBENCH_COMPLETE" in os.environ:
        from sambench.cli import completion  # noqa: F401
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SambenchError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted: what was finished is on disk; the same command goes on from there", err=True)
        # At once: threads that still read from a file system that does not answer would be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
