"""jobctl completion: scripts for bash, zsh and fish, made from the verbs' own parsers, so that they cannot
lag behind.

A script is static: pressing TAB starts no Python, except where a job is wanted, when jobctl is asked for
names and ids.
"""

from __future__ import annotations

import argparse

from jobd.cli import ALIASES, VERBS, parser_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

FILES = ("file", "each", "stdin")
DIRECTORIES = ("directory",)
CANDIDATES = "jobctl list -n 50 --no-header -o id,name"
HIDDEN_CANDIDATES = f"{CANDIDATES} --hidden"


def arguments(parser: Parser, verb: str) -> None:
    parser.epilog = """\
  bash  jobctl completion bash > ~/.local/share/bash-completion/completions/jobctl
  zsh   jobctl completion zsh > ~/.zfunc/_jobctl      (with ~/.zfunc in $fpath)
  fish  jobctl completion fish > ~/.config/fish/completions/jobctl.fish"""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def main(session: Session, verb: str) -> int:
    maker = {"bash": bash, "zsh": zsh, "fish": fish}[session.options.shell]
    session.out("\n".join(maker(list(all_verbs()))))
    return 0


class Option:
    def __init__(self, action: argparse.Action) -> None:
        self.flags = list(action.option_strings)
        self.help = "" if action.help in (None, argparse.SUPPRESS) else str(action.help).partition(" (")[0]
        self.takes_value = action.nargs != 0
        self.kind = "file" if action.dest in FILES else "directory" if action.dest in DIRECTORIES else "other"
        self.choices = [str(choice) for choice in action.choices or ()]


class Verb:
    """What can follow a verb."""

    def __init__(self, name: str, parser: argparse.ArgumentParser) -> None:
        self.names = [name, *(alias for alias, verb in ALIASES.items() if verb == name)]
        self.summary = VERBS[name][1]
        actions = parser._actions
        self.options = [Option(action) for action in actions if action.option_strings]
        wanted = {action.dest for action in actions if not action.option_strings}
        self.wants_jobs = bool(wanted & {"jobs", "job"})
        self.wants_people = "people" in wanted
        self.candidates = HIDDEN_CANDIDATES if name == "restore" else CANDIDATES
        self.wants_command = "words" in wanted
        self.choices = [
            choice for action in actions if not action.option_strings for choice in action.choices or ()
        ]


def all_verbs() -> Iterator[Verb]:
    for name in VERBS:
        yield Verb(name, parser_of(name))


def bash(verbs: list[Verb]) -> Iterator[str]:
    yield from """\
# bash completion for jobctl
_jobctl_jobs() {  # compgen -W would carry out a $(..) in a job's name
    local cur=$1 id name word; shift
    while read -r id name; do
        for word in "$id" "$name"; do
            [[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$(printf %q "$word")")
        done
    done < <("$@" 2>/dev/null; echo last)
}
_jobctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= flags= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in -H|--host|--color) ((i++)) ;; -*) ;; *) verb=${COMP_WORDS[i]}; break ;; esac
    done
    case $verb in""".splitlines()
    every = " ".join(name for verb in verbs for name in verb.names)
    yield f'    "") COMPREPLY=($(compgen -W "{every} --help --version" -- "$cur")); return ;;'
    for verb in verbs:
        yield from _bash_verb(verb)
    yield """\
    esac
    [[ $cur == -* ]] && words=$flags
    local IFS=$' \\t\\n'
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _jobctl jobctl"""


def _bash_verb(verb: Verb) -> Iterator[str]:
    yield f"    {'|'.join(verb.names)})"
    yield "        case $prev in"
    for option in verb.options:
        if option.takes_value:
            yield f"        {'|'.join(option.flags)}) {_bash_value(option)}; return ;;"
    yield "        esac"
    yield f'        flags="{" ".join(flag for option in verb.options for flag in option.flags)}"'
    if verb.wants_jobs:
        people = 'COMPREPLY+=($(compgen -u -- "$cur")); ' if verb.wants_people else ""
        yield f'        [[ $cur == -* ]] || {{ _jobctl_jobs "$cur" {verb.candidates}; {people}return; }}'
    elif verb.wants_command:
        yield '        [[ $cur == -* ]] || { COMPREPLY=($(compgen -c -f -- "$cur")); return; }'
    elif verb.choices:
        yield f'        words="{" ".join(verb.choices)}"'
    yield "        ;;"


def _bash_value(option: Option) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"))'
    flag = {"file": "-f", "directory": "-d"}.get(option.kind)
    return f'COMPREPLY=($(compgen {flag} -- "$cur"))' if flag else "COMPREPLY=()"


def zsh(verbs: list[Verb]) -> Iterator[str]:
    yield """\
#compdef jobctl
_jobctl_jobs() {
    local -a found; local id name
    "$@" 2>/dev/null | while read -r id name; do found+=("$id:$name" "${name//:/\\:}:$id"); done
    found+=("last:the one submitted last")
    _describe job found
}
_jobctl() {
    local curcontext=$curcontext state line
    local -a verbs; verbs=("""
    for verb in verbs:
        for name in verb.names:
            yield f"        {_zsh_quoted(f'{name}:{verb.summary}')}"
    yield """\
    )
    _arguments -C '(-H --host)'{-H,--host}'[the daemon]:host:' '--user[your own daemon]' \\
        '1:verb:->verb' '*::arg:->args'
    case $state in
    verb) _describe verb verbs ;;
    args) case $line[1] in"""
    for verb in verbs:
        yield f"        {'|'.join(verb.names)}) _arguments \\"
        for option in verb.options:
            yield from (f"            {_zsh_quoted(_zsh_option(flag, option))} \\" for flag in option.flags)
        yield f"            {_zsh_rest(verb)} ;;"
    yield """\
        esac ;;
    esac
}
if [ "$funcstack[1]" = _jobctl ]; then _jobctl "$@"; else compdef _jobctl jobctl; fi"""


def _zsh_option(flag: str, option: Option) -> str:
    text = f"*{flag}[{option.help.replace('[', '(').replace(']', ')')}]"
    if not option.takes_value:
        return text
    values = (
        f"({' '.join(option.choices)})"
        if option.choices
        else {"file": "_files", "directory": "_files -/"}.get(option.kind, "")
    )
    return f"{text}:value:{values}"


def _zsh_rest(verb: Verb) -> str:
    if verb.wants_jobs:
        jobs = f":job:_jobctl_jobs {verb.candidates}"
        return (
            f"{_zsh_quoted(f'1{jobs}')} '*:person:_users'" if verb.wants_people else _zsh_quoted(f"*{jobs}")
        )
    if verb.wants_command:
        return "'*:: :_normal'"
    return _zsh_quoted(f"1:which:({' '.join(verb.choices)})") if verb.choices else "'*:: :'"


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(verbs: list[Verb]) -> Iterator[str]:
    yield "# fish completion for jobctl"
    yield "complete -c jobctl -f"
    every = " ".join(name for verb in verbs for name in verb.names)
    for verb in verbs:
        for name in verb.names:
            first = f"complete -c jobctl -n 'not __fish_seen_subcommand_from {every}'"
            yield f"{first} -a {name} -d {_fish_quoted(verb.summary)}"
        when = f"complete -c jobctl -n '__fish_seen_subcommand_from {' '.join(verb.names)}'"
        for option in verb.options:
            yield f"{when} {_fish_option(option)}"
        if verb.wants_jobs:
            yield f"{when} -a '(echo last; {verb.candidates} 2>/dev/null | string replace -r \" +\" \\t)'"
            if verb.wants_people:
                yield f"{when} -a '(__fish_complete_users)'"
        elif verb.wants_command:
            yield f"{when} -a '(__fish_complete_subcommand)'"
        elif verb.choices:
            yield f"{when} -a '{' '.join(verb.choices)}'"


def _fish_option(option: Option) -> str:
    flags = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.takes_value:
        flags.append("-r" if option.kind == "other" else "-r -F")
    if option.choices:
        flags.append(f"-a '{' '.join(option.choices)}'")
    return " ".join([*flags, f"-d {_fish_quoted(option.help)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
