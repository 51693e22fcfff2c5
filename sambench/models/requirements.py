"""Whether a model can do what a task asks of it."""

from __future__ import annotations

from sambench.core.model import Model
from sambench.core.task import Task
from sambench.errors import UsageError
from sambench.models import zoo


def lacking(task: Task, capabilities: frozenset[str]) -> list[str]:
    """What a task needs of a model and these are not; ``edges or points`` where one is enough."""
    return [one.replace("|", " or ") for one in sorted(task.requires) if not capabilities & set(one.split("|"))]


def require(task: Task, model: Model) -> None:
    """Raises UsageError if the model cannot do the task."""
    if needs := lacking(task, model.capabilities):
        able = [name for name, card in zoo.ZOO.items() if not lacking(task, frozenset(card.capabilities))]
        raise UsageError(
            f"task {task.name} needs a model with the capability {' and '.join(needs)}; {model.name} has: "
            f"{', '.join(sorted(model.capabilities)) or 'none'}; those that can: {', '.join(able) or 'none of the zoo'}"
        )
