"""Jinja templates of task files, in a sandbox: they read a document's fields and nothing else."""

import re
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trivium.data.harness_files import Document

LONGEST = 100_000
"""Characters or entries that a template may make by repeating."""


class _Templates(ImmutableSandboxedEnvironment):
    """Neither reaches into Python's objects nor changes a document, nor multiplies texts or numbers without end."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(one) for one in (left, right) if isinstance(one, (str, list, tuple))]
        times = [one for one in (left, right) if isinstance(one, int)]
        if operator == "**" or (sizes and times and sizes[0] * times[0] > LONGEST):
            raise SecurityError(f"{operator} makes something too large")
        return super().call_binop(context, operator, left, right)


TEMPLATES = _Templates(undefined=StrictUndefined, keep_trailing_newline=True)
TEMPLATES.filters["regex_replace"] = lambda text, pattern, by, count=0: re.sub(pattern, by, text, count=count)


def filled(template: str, document: Document, what: str) -> str:
    """The template with the document's fields in it. ``what``: whose template this is, for errors.

    Raises ValueError for a field that is not there, and for whatever else goes wrong in a template.
    """
    try:
        return TEMPLATES.from_string(template).render(**document)
    except UndefinedError as error:
        raise ValueError(
            f"{what} refers to what is not there ({error.message}); the document has {', '.join(document)}"
        ) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ValueError(f"{what} {template!r} fails: {error}") from None
