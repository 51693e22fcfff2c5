"""Shell completion of ``--set``, through click's own classes for the shells and in a bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.shell_completion import FishComplete, ShellComplete, ZshComplete

from sambench.cli.completion import Bash
from sambench.cli.main import cli

RUN = ["run", "-t", "single_point", "--set"]


def completed(shell: type[ShellComplete], args: Sequence[str], incomplete: str) -> list[str]:
    items = shell(cli, {}, "sambench", "_SAMBENCH_COMPLETE").get_completions(list(args), incomplete)
    return [item.value for item in items]


@pytest.mark.parametrize("shell", [Bash, ZshComplete, FishComplete])
@pytest.mark.parametrize(
    ("args", "incomplete", "expected"),
    [
        (["run", "--set"], "", ["task.", "dataset.", "model."]),
        (RUN, "task.f", ["task.first_click=", "task.feed_mask="]),
        (RUN, "task.first_click=", ["task.first_click=centre", "task.first_click=random"]),
        (RUN, "task.first_click=r", ["task.first_click=random"]),
        (RUN, "task.feed_mask=", ["task.feed_mask=true", "task.feed_mask=false"]),
        (RUN, "task.clicks=", ["task.clicks=1,2,3,5,9"]),
        (RUN, "task.grid", []),
        (["run", "--set"], "task.grid", ["task.grid="]),
        (["run", "-d", "ade20k,coco", "--set"], "dataset.l", ["dataset.level="]),
        (["run", "-d", "all", "--set"], "dataset.shift", ["dataset.shift_fix="]),
        (["data", "check", "bbbc038", "--set"], "dataset.m", ["dataset.min_area="]),
        (["run", "--set"], "model.", ["model.max_pixels="]),
        (["check", "model", "canny", "--set"], "model.", ["model.sigma="]),
        (["run", "-m", "felzenszwalb", "--sweep"], "model.s", ["model.scales=", "model.sigma="]),
        (["score", "x", "-t", "text_to_mask", "--set"], "task.truth=i", ["task.truth=instance"]),
        (["run", "-t", "nothing.py:Task", "--set"], "task.", []),
        (RUN, "engine.", []),
        (RUN, "task.nothing=", []),
    ],
)
def test_what_is_offered(shell: type[ShellComplete], args: list[str], incomplete: str, expected: list[str]) -> None:
    assert completed(shell, args, incomplete) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--set", "ta"], "plain,task."),
        ([*RUN, "task.fi"], "plain,task.first_click="),
        ([*RUN, "task.first_click", "="], "plain,centre\nplain,random"),
        ([*RUN, "task.first_click", "=", "r"], "plain,random"),
        (["run", "--set", "=", "task.first_click", "=", "r"], "plain,random"),
        ([*RUN, "task.min_area", "=", "3", "--set", "task.by", "=", ""], "plain,"),
    ],
)
def test_bash_gets_what_follows_the_last_equals_sign(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.setenv("COMP_WORDS", "\n".join(["sambench", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert Bash(cli, {}, "sambench", "_SAMBENCH_COMPLETE").complete() == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_in_bash(tmp_path: Path) -> None:
    command = tmp_path / "sambench"
    code = "import sys; sys.argv[0] = 'sambench'; from sambench.cli.main import main; main()"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    command.chmod(0o755)
    script = """
        PATH=$1:$PATH
        compopt() { echo "$@"; }
        eval "$(_SAMBENCH_COMPLETE=bash_source sambench)"
        COMP_WORDS=(sambench run --set task.first_click = r) COMP_CWORD=5
        _sambench_completion sambench; echo "${COMPREPLY[@]}"
        COMP_WORDS=(sambench run --set task.first) COMP_CWORD=3 COMPREPLY=()
        _sambench_completion sambench; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", tmp_path], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("random\n-o nospace\ntask.first_click=\n", "")
