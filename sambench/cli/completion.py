"""Shell completion of ``--set OWNER.KEY=VALUE``: ``eval "$(_SAMBENCH_COMPLETE=bash_source sambench)"``, or
``zsh_source``, or ``fish_source``. Imported when a shell asks, before anything else runs."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from sambench.errors import SambenchError
from sambench.models import zoo
from sambench.planning.settings import SET_OWNERS
from sambench.plugins import options, registry


def assignments(context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """What an assignment may go on with: its owner, an option of what the line names (of all tasks or datasets where it
    names none), a value."""
    owner, dot, rest = incomplete.partition(".")
    key, equals, _ = rest.partition("=")
    if not dot:
        items = [CompletionItem(f"{name}.") for name in SET_OWNERS]
    else:
        known = {one.name: one for cls in _classes(owner, context) for one in options.described(cls)}
        items = [CompletionItem(f"{owner}.{one.name}=", help=one.meaning) for one in known.values()]
        if equals:
            values = known[key].choices or (known[key].default,) if key in known else ()
            items = [CompletionItem(f"{owner}.{key}={value}") for value in values]
    return [item for item in items if item.value.startswith(incomplete)]


def _classes(owner: str, context: click.Context) -> Iterator[type]:
    for folder in context.params.get("plugin_folders") or ():
        registry.add_folder(folder)
    kinds: dict[str, registry.Kind] = {"task": "tasks", "dataset": "datasets"}
    every = registry.names(kinds[owner]) if owner in kinds else [zoo.DEFAULT] * (owner == "model")
    flags = context.params.get(f"{owner}s") or context.params.get(owner) or ()
    # An argument, as in `check model NAME`, is left where it was: click has not come to it.
    named = registry.split_names([*([flags] if isinstance(flags, str) else flags), *context.args])
    for name in [n for n in named if n in zoo.ZOO or n in every or ".py:" in n] or every:
        try:
            yield registry.load(kinds[owner], name).Options if owner in kinds else zoo.options_class(name)
        except (SambenchError, KeyError):  # the command itself says what is wrong
            continue


@add_completion_class
class Bash(BashComplete):
    """Bash parts words at ``=`` and puts what comes back in place of the last part; click's own class does not know."""

    source_template = BashComplete.source_template.replace(
        "    return 0", '    [[ "${COMPREPLY[*]}" == *[.=] ]] && compopt -o nospace\n\n    return 0'
    )
    _before = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        parts, last = super().get_completion_args()
        words = [""]
        for part in [*parts, last]:
            if part == "=" or words[-1].endswith("="):
                words[-1] += part
            else:
                words.append(part)
        self._before = words[-1][: words[-1].rfind("=") + 1]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        head, equals, value = item.value.partition("=")
        return f"{item.type},{value if equals and self._before.endswith(head + equals) else item.value}"
