"""The one way to make HTML: Jinja2 templates from ``reports/templates/``, everything that is put in escaped."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2

from sambench.reporting.reference import suite_folder
from sambench.text import cleaned


def folder() -> Path:
    """``reports/templates`` of the checkout, or of the installed wheel. Raises UsageError if it is not there."""
    return suite_folder("templates")


def render(template: str, **values: Any) -> str:
    """A page: the template filled with the values.

    Each string is shown as it is: escaped, and cleaned as :func:`text.cleaned` does. A name that a template asks for
    and nobody gave is an error, not an empty place.
    """
    return _environment().get_template(template).render(**values)


def asset(name: str) -> bytes:
    """A file that pages refer to (``style.css``, ``site.js``), as it is."""
    return (folder() / name).read_bytes()


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _clean(value: Any) -> Any:
    """Markup that a template made stays; names from anywhere lose control characters, turns of direction and halves of
    surrogate pairs, which UTF-8 cannot hold."""
    return cleaned(value) if type(value) is str else value
