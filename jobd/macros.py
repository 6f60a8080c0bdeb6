"""Macros: ${JOB_NAME} and the like, in the address and the words of a notification.

What stands for a macro was chosen by somebody else than who wrote it down: a job's name, a scheduler's words.
So it is escaped for where it stands: percent-encoded in an address; as it is in a text; and in an object of
JSON's within its texts, which are quoted afterwards. A command has macros as variables of its environment,
never in its arguments, where a shell might read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

NAMES: Mapping[str, str] = {
    "DELIVERY_ID": "the same at every try, so that repeats can be told",
    "EVENT": "what happened: the status, or how the job ended",
    "JOB_APP": "its app",
    "JOB_ARCHIVE_PATH": "where its outputs are archived",
    "JOB_CONDITION": "how it ended",
    "JOB_END_TIME": "ISO-8601",
    "JOB_ERROR": "in words, why it waits or how it ended",
    "JOB_EXIT_CODE": "a number",
    "JOB_ID": "",
    "JOB_LOCAL_ID": "what its system calls it",
    "JOB_NAME": "",
    "JOB_OWNER": "whose job it is",
    "JOB_START_TIME": "ISO-8601",
    "JOB_STATUS": "",
    "JOB_SUBMIT_TIME": "ISO-8601",
    "JOB_SYSTEM": "its execution system",
    "JOB_URL": "its address in the API",
    "NOTIFICATION_ID": "",
    "OWNER": "whose notification it is",
}
"""Each with what it stands for, where its name does not say that."""

_MACRO = re.compile(r"\$\{([^}]*)\}")


def unknown(template: Any) -> list[str]:
    """The names that mean nothing, in a text or in all the texts of a value of JSON's."""
    if isinstance(template, str):
        return [name for name in _MACRO.findall(template) if name not in NAMES]
    parts = template.values() if isinstance(template, dict) else template
    return [name for part in parts for name in unknown(part)] if isinstance(template, dict | list) else []


def in_url(template: str, values: Mapping[str, str]) -> str:
    return _filled(template, values, lambda value: quote(value, safe="", errors="replace"))


def in_value(template: Any, values: Mapping[str, str]) -> Any:
    """In a text; in an object or a list, in the texts that it holds, but not in the names of fields."""
    if isinstance(template, str):
        return _filled(template, values, str)
    if isinstance(template, dict):
        return {name: in_value(part, values) for name, part in template.items()}
    return [in_value(part, values) for part in template] if isinstance(template, list) else template


def _filled(template: str, values: Mapping[str, str], escaped: Callable[[str], str]) -> str:
    """In one pass: a macro in what stands for a macro is none."""
    return _MACRO.sub(lambda found: escaped(values.get(found[1], found[0])), template)
