# SPDX-License-Identifier: GPL-2.0-only
"""Shell completion made from the parser itself: what the parser knows, the shell offers."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

PROGRAM = "harness.py"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, whether it takes a value, which values there are, what it does."""

    names: tuple[str, ...]
    takes: bool
    choices: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand; `choices` are those of its first argument, `files` whether it takes any."""

    name: str
    text: str
    options: tuple[Option, ...]
    choices: tuple[str, ...]
    files: bool


def completion_command(options: argparse.Namespace) -> int:
    """Print the completion script for `options.shell`."""
    from kvet.cli import build_parser  # the command line itself imports this module's sibling

    sys.stdout.write(completion(build_parser(), options.shell))
    return 0


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that makes `shell` complete the commands of `parser`."""
    return SHELLS[shell](_options(parser), commands_of(parser))


def commands_of(parser: argparse.ArgumentParser) -> list[Command]:
    """The subcommands of a parser in their order."""
    return list(_commands(parser))


def _commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        texts = {a.dest: a.help or "" for a in action._choices_actions}
        for name, sub in action.choices.items():
            arguments = [a for a in sub._actions if not a.option_strings]
            first = next((_choices(a) for a in arguments), ())
            files = any(not a.choices for a in arguments)
            yield Command(name, _plain(texts.get(name, "")), tuple(_options(sub)), first, files)


def _options(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    return tuple(
        Option(tuple(a.option_strings), a.nargs != 0, _choices(a), _plain(a.help or ""))
        for a in parser._actions
        if a.option_strings
    )


def _choices(action: argparse.Action) -> tuple[str, ...]:
    choices = action.choices or getattr(action.type, "choices", None) or ()
    return tuple(str(choice) for choice in choices)


def _plain(text: str) -> str:
    """Help as one line of plain words."""
    return " ".join(text.replace("%%", "%").split())


def _words(command: Command) -> str:
    """Every word that may follow a command."""
    names = [name for option in command.options for name in option.names]
    return " ".join((*command.choices, *names))


def _bash(top: Sequence[Option], commands: Sequence[Command]) -> str:
    names = [c.name for c in commands]
    flags = [name for option in top for name in option.names]
    cases = "\n".join(_bash_case(c) for c in commands)
    return f"""\
# bash completion of {PROGRAM}; read it with: source <(./{PROGRAM} completion bash)
_kvet() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= words= values= word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in -*) ;; *) command=$word; break ;; esac
    done
    COMPREPLY=()
    case $command in
        '') words="{" ".join([*names, *flags])}" ;;
{cases}
    esac
    case $values in
        '') ;;
        :file) COMPREPLY=($(compgen -f -- "$current")); return ;;
        *) COMPREPLY=($(compgen -W "$values" -- "$current")); return ;;
    esac
    COMPREPLY=($(compgen -W "${{words% :file}}" -- "$current"))
    case $words in
        *' :file') [[ $current == -* ]] || COMPREPLY+=($(compgen -f -- "$current")) ;;
    esac
}}
complete -o filenames -F _kvet {PROGRAM} ./{PROGRAM}
"""


def _bash_case(command: Command) -> str:
    """What follows one command: values of the option before, or its words and maybe a file."""
    lines = [f"        {command.name})"]
    takers = [option for option in command.options if option.takes]
    if takers:
        lines.append("            case $previous in")
        for option in takers:
            values = " ".join(option.choices) or ":file"
            lines.append(f'                {"|".join(option.names)}) values="{values}" ;;')
        lines.append("            esac")
    tail = " :file" if command.files else ""
    return "\n".join((*lines, f'            words="{_words(command)}{tail}" ;;'))


def _zsh(top: Sequence[Option], commands: Sequence[Command]) -> str:
    listed = "\n".join(f"    '{_zsh_text(c.name)}:{_zsh_text(c.text)}'" for c in commands)
    cases = "\n".join(_zsh_case(c) for c in commands)
    flags = " ".join(_zsh_option(option) for option in top)
    return f"""\
#compdef {PROGRAM} ./{PROGRAM}
# zsh completion of {PROGRAM}; read it with: source <(./{PROGRAM} completion zsh)
_kvet() {{
  local state line
  local -a commands
  typeset -A opt_args
  commands=(
{listed}
  )
  _arguments -C {flags} '1: :->command' '*:: :->rest'
  case $state in
    command) _describe -t commands command commands ;;
    rest)
      case $words[1] in
{cases}
      esac ;;
  esac
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _kvet {PROGRAM} ./{PROGRAM}
"""


def _zsh_case(command: Command) -> str:
    specs = [_zsh_option(option) for option in command.options]
    if command.choices:
        specs.append(f"'1: :({' '.join(command.choices)})'")
    if command.files:
        specs.append("'*: :_files'")
    lines = " \\\n          ".join(specs)
    return f"        {command.name})\n          _arguments {lines} ;;"


def _zsh_option(option: Option) -> str:
    """One option with all its names as `_arguments` reads it."""
    value = ""
    if option.takes:
        value = f":value:({' '.join(option.choices)})" if option.choices else ":value:_files"
    names = option.names
    text = f"'[{_zsh_text(option.text)}]{value}'"
    if len(names) == 1:
        return names[0] + text
    return f"'({' '.join(names)})'{{{','.join(names)}}}{text}"


def _zsh_text(text: str) -> str:
    """Text inside single quotes, with what `_arguments` and `_describe` read escaped."""
    return re.sub(r"([][:\\])", r"\\\1", text).replace("'", "'\\''")


def _fish(top: Sequence[Option], commands: Sequence[Command]) -> str:
    names = " ".join(c.name for c in commands)
    lines = [
        f"# fish completion of {PROGRAM}; read it with: ./{PROGRAM} completion fish | source",
        f"set -l kvet_commands {names}",
    ]
    before = '-n "not __fish_seen_subcommand_from $kvet_commands"'
    lines += [f"complete -c {PROGRAM} {before} -f {_fish_option(o)}" for o in top]
    for command in commands:
        lines.append(
            f"complete -c {PROGRAM} {before} -f -a {command.name} -d {_fish_text(command.text)}"
        )
        inside = f'-n "__fish_seen_subcommand_from {command.name}"'
        if command.choices:
            words = " ".join(command.choices)
            lines.append(f"complete -c {PROGRAM} {inside} -f -a {_fish_text(words)}")
        elif not command.files:
            lines.append(f"complete -c {PROGRAM} {inside} -f")
        lines += [f"complete -c {PROGRAM} {inside} {_fish_option(o)}" for o in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    """One option as `complete` of fish takes it."""
    words = []
    for name in option.names:
        flag = "-l" if name.startswith("--") else "-s"
        words.append(f"{flag} {name.lstrip('-')}")
    if option.choices:
        words.append(f"-x -a {_fish_text(' '.join(option.choices))}")
    elif option.takes:
        words.append("-r -F")
    return " ".join((*words, f"-d {_fish_text(option.text)}"))


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


Maker = Callable[[Sequence[Option], Sequence[Command]], str]
SHELLS: dict[str, Maker] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
