"""A study from the command line's point of view: made or continued, served, summed up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from sambench.errors import UsageError
from sambench.study import selection, summary
from sambench.study.server import Server, is_loopback
from sambench.study.storage import Storage


def prepare(
    folder: Path,
    runs: Sequence[Path],
    masks: int,
    progress: selection.ShowProgress,
    *,
    say: Callable[[str], None],
    data_root: Path | None = None,
    models: Sequence[str] = (),
    plugin_folders: Sequence[Path] = (),
) -> Storage:
    """Opens the study in ``folder``; with ``runs`` makes it first, or goes on where making it stopped. ``say``: is told
    what a person should know about it.

    Raises UsageError: no study and no runs, a study of other masks, runs that do not go together.
    """
    if not runs:
        storage = Storage(folder)
        if storage.fact("ready") is None:
            storage.close()
            raise UsageError(f"the study {folder} is not whole yet: give the runs again, and it goes on")
        return storage
    draws = selection.plan(runs, masks, data_root=data_root, models=models, plugin_folders=plugin_folders)
    drawn = [draw.as_dict() for draw in draws]
    storage = Storage(folder, create=True)
    try:
        earlier = storage.fact("drawn")
        if earlier is None:
            storage.set_fact("drawn", drawn)
        elif earlier != drawn:
            raise UsageError(
                f"{folder} holds a study of other runs or masks ({_told(earlier)}): choose another --study"
            )
        if storage.fact("ready") is None:
            selection.prepare(draws, storage, progress)
            storage.set_fact("ready", True)
            for note in summary.differing_notes(storage.differing()):
                say(note)
    except BaseException:
        storage.close()
        raise
    return storage


def serve(storage: Storage, host: str, port: int, *, token: str, raters: int, say: Callable[[str], None]) -> None:
    """Serves until it is interrupted. An address that others can reach gets a token, kept with the study so that a
    server that starts again lets the same people in. Raises UsageError."""
    if not token and not is_loopback(host):
        token = storage.fact("token") or secrets.token_urlsafe(12)
        storage.set_fact("token", token)
    with Server(storage, host, port, token=token, raters=raters) as server:
        progress = storage.progress(raters=raters)
        say(f"{progress.done} of {progress.total} ratings are there; raters open {server.url} (Ctrl-C stops)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            progress = storage.progress(raters=raters)
            say(f"stopped: {progress.done} of {progress.total} ratings are there")


def sum_up(folder: Path) -> tuple[summary.Summary, Path]:
    """The summary of a study, written to its folder ``summary/``; and the path of its page."""
    with Storage(folder) as storage:
        found = summary.summarize(storage)
    return found, summary.write(found, folder / "summary")


def _told(drawn: Sequence[dict[str, object]]) -> str:
    return "; ".join(f"{one['masks']} masks of {one['dataset']}" for one in drawn)
