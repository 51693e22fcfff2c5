"""Flags that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    pass


SUBSETS = "paper|full|N|file:PATH"


Function = TypeVar("Function", bound=Callable[..., Any])


def flag(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """A click option with its twin in the environment, ``--data-root`` and ``SAMBENCH_DATA_ROOT``."""
    long = next(n for n in names if n.startswith("--")).removeprefix("--").partition("/")[0]
    return click.option(*names, envvar=f"SAMBENCH_{long.upper().replace('-', '_')}", show_envvar=False, **settings)


def out_flag(function: Function) -> Function:
    return flag("--out", type=Path, default=Path("runs"), show_default=True, help="Folder of the runs.")(function)


def data_root_flag(function: Function) -> Function:
    text = "Folder that holds the datasets, or is one. Default: the user's data folder."
    return flag("--data-root", type=Path, help=text)(function)


def plugins_flag(function: Function) -> Function:
    text = "Folder with your own tasks/ and datasets/. Repeatable."
    return flag("--plugins", "plugin_folders", multiple=True, type=Path, help=text)(function)


def again_flags(function: Function) -> Function:
    """What opens a run again, where its masks are made anew."""
    text = "Model of a run, if its weights have moved or it was FILE.py:CLASS. Repeatable."
    for decorate in (plugins_flag, flag("--model", "models", multiple=True, help=text), data_root_flag):
        function = decorate(function)
    return function


def set_flag(
    metavar: str, text: str, name: str = "--set", variable: str = "assignments"
) -> Callable[[Function], Function]:
    """``--set`` and what is written like it; shells complete it."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
        from sambench.cli.completion import assignments

        return assignments(context, incomplete)

    return flag(name, variable, multiple=True, metavar=metavar, shell_complete=complete, help=text)


def data_flags(function: Function) -> Function:
    """What finds a dataset."""
    for decorate in reversed(
        [
            data_root_flag,
            flag("--split", help="Split of the dataset. Default: the paper's."),
            set_flag(
                "OWNER.KEY=VALUE",
                "Option of the task, dataset or model, e.g. task.first_click=random. Repeatable.",
            ),
            plugins_flag,
        ]
    ):
        function = decorate(function)
    return function
