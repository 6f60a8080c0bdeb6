"""From an app's template and a job's values to the arguments of its program. No shell, and nothing is split
again after a value has been put in: whatever is in a value reaches the program as that very value.

In a template, ${id} alone is as many arguments as the field has values, with `argument` before the first
(before each, if it is to be repeated) when it is to be shown. In the middle of a word it stands for the value
alone: the word comes once per value, and not at all when there is none. A flag is its argument or nothing.

A script is run as it is. It finds its values in variables of the fields' ids (several by lines, true as
`true`, false and none as nothing), and as arguments, in their order, those that are to show theirs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from jobd.apps.fields import Declared, Parameter, Scalar, listed, text
from jobd.store.job import Job
from jobd.units import format_run_time, gigabytes

APP_PATH = "JOBD_APP_PATH"
_MACRO = re.compile(r"\$\{([^}]*)\}")

Values = Mapping[str, Sequence[Scalar]]
"""By field; of inputs, what the program is to open."""


def facts(job: Job) -> dict[str, str]:
    """What a template, an archive path and a script's environment can say of the job itself, in Agave's
    words."""
    return {
        "AGAVE_JOB_NAME": job.name,
        "AGAVE_JOB_ID": job.id,
        "AGAVE_JOB_OWNER": job.owner,
        "AGAVE_JOB_APP_ID": job.app_id,
        "AGAVE_JOB_EXECUTION_SYSTEM": job.system,
        "AGAVE_JOB_BATCH_QUEUE": job.queue,
        "AGAVE_JOB_NODE_COUNT": str(job.nodes),
        "AGAVE_JOB_PROCESSORS_PER_NODE": str(job.processors),
        "AGAVE_JOB_MEMORY_PER_NODE": "" if job.memory is None else f"{gigabytes(job.memory):g}",
        "AGAVE_JOB_MAX_RUNTIME": "" if job.time_limit is None else format_run_time(job.time_limit),
        "AGAVE_JOB_MAX_RUNTIME_SECONDS": "" if job.time_limit is None else f"{job.time_limit:.0f}",
        "AGAVE_JOB_WORK_PATH": job.workspace,
        "AGAVE_JOB_ARCHIVE": "true" if job.archive else "",
        "AGAVE_JOB_ARCHIVE_PATH": job.archive_path,
        "AGAVE_JOB_ARCHIVE_SYSTEM": job.archive_system or "",
    }


_NOBODY = Job("", "", "", "", "", "", {}, (), "", "")
FACTS = frozenset({APP_PATH, *facts(_NOBODY)})


def macros(word: str) -> list[str]:
    return _MACRO.findall(word)


def filled(text: str, facts: Mapping[str, str]) -> str:
    """With the facts in place of their names. Raises KeyError with a name that is none."""
    return _MACRO.sub(lambda found: facts[found[1]], text)


def arguments(
    words: Iterable[str], fields: Iterable[Declared], values: Values, facts: Mapping[str, str]
) -> list[str]:
    """The template's words as arguments."""
    by_id = {field.id: field for field in fields}
    made: list[str] = []
    for word in words:
        whole = _MACRO.fullmatch(word)
        if whole and whole[1] in by_id:
            made += shown(by_id[whole[1]], values)
        else:
            made += _filled(word, by_id, values, facts)
    return made


def of_script(fields: Iterable[Declared], values: Values) -> list[str]:
    """The arguments of a script."""
    wanted = (field for field in fields if field.details.show_argument or _is_flag(field))
    return [word for field in wanted for word in shown(field, values)]


def shown(field: Declared, values: Values) -> list[str]:
    """A field's values as arguments, with what goes before them."""
    texts = _texts(field, values)
    argument = (field.details.argument or "").strip() if field.details.show_argument else ""
    if not argument or _is_flag(field):
        return texts
    made: list[str] = []
    for place, word in enumerate(texts):
        if place and not field.details.repeat_argument:
            made.append(word)
        else:
            made += [argument + word] if argument.endswith("=") else [argument, word]
    return made


def _filled(
    word: str, by_id: Mapping[str, Declared], values: Values, facts: Mapping[str, str]
) -> Iterable[str]:
    """A word with macros in it, once for each value."""
    parts = _MACRO.split(word)  # text, name, text, name, text ..
    choices = [
        [part] if place % 2 == 0 else _texts(by_id[part], values) if part in by_id else [facts[part]]
        for place, part in enumerate(parts)
    ]
    return map("".join, itertools.product(*choices))


def _texts(field: Declared, values: Values) -> list[str]:
    found = values.get(field.id, ())
    if _is_flag(field):
        return [(field.details.argument or "").strip()] if True in found else []
    return [text(value) for value in found]


def _is_flag(field: Declared) -> bool:
    return isinstance(field, Parameter) and field.value.type == "flag"


def opened(job: Job) -> dict[str, list[str]]:
    """By input, the names in its work directory that the job's program opens. One that begins with a dash is
    not to be taken for an option."""
    found: dict[str, list[str]] = {}
    for entry in job.staging:
        name = entry["name"]
        found.setdefault(entry["input"], []).append(f"./{name}" if name.startswith("-") else name)
    return found


def variables(job: Job) -> dict[str, str]:
    """What an app's program finds in its environment: its values, and the facts of the job."""
    given = {field: listed(value) for field, value in job.parameters.items()} | opened(job)
    lines = {field: "\n".join(map(_variable, values)) for field, values in given.items()}
    return {**facts(job), **lines}


def _variable(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    return value if isinstance(value, str) else text(value)  # type: ignore[arg-type]
