"""`medzoo completion bash|zsh`: a script that completes verbs, options, names and values, made once and then read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout

from medzoo.core.cli.options import choices, plug_ins
from medzoo.core.cli.streams import show
from medzoo.core.errors import ConfigError
from medzoo.core.registry import Spec, load, names, specs

HELP = """usage: medzoo completion bash|zsh

Prints a script for the shell: verbs, their options, names of models, data modules and weights, options of a chosen
model and data module, and the values of those that have a choice. It is made of what is installed; make it anew after
an installation.
  medzoo completion bash > ~/.local/share/bash-completion/completions/medzoo
  medzoo completion zsh > ~/.zsh/completions/_medzoo       a folder that fpath names before compinit
"""
_RUNS = ("fit", "validate", "test", "predict")
"""Verbs that take the options of a model, its data and the trainer."""
_SCRIPT = """\
# Completion of medzoo, made by: medzoo completion {shell}
_medzoo_words() {{
  case "$1" in
{cases}
  esac
}}

_medzoo() {{
  local word previous="" cur verb model="" data="" flag words=""
  cur="${{COMP_WORDS[COMP_CWORD]}}"
  flag="${{COMP_WORDS[COMP_CWORD-1]}}"
  verb="${{COMP_WORDS[1]}}"
  COMPREPLY=()
  for word in "${{COMP_WORDS[@]}}"; do
    case "$previous" in
      --model) model="$word";;
      --data) data="$word";;
    esac
    previous="$word"
  done
  if [ -n "$model" ] && [ -z "$data" ]; then data="$(_medzoo_words "data-of:$model")"; fi
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="$(_medzoo_words verbs)"
  else
    case "$flag" in
      --model|--data|--logger|--trainer.accelerator) words="$(_medzoo_words "$flag")";;
      --model.*) words="$(_medzoo_words "model:$model:$flag")";;
      --data.*) words="$(_medzoo_words "data:$data:$flag")";;
    esac
    case "$flag:$cur" in
      -*:-*) ;;
      -*:*) COMPREPLY=($(compgen -W "$words" -- "$cur")); return;;
    esac
    case "$cur" in
      -*)
        words="$(_medzoo_words "flags:$verb")"
        case " {runs} " in
          *" $verb "*) words="$words $(_medzoo_words "model:$model") $(_medzoo_words "data:$data")";;
        esac;;
      *) words="$(_medzoo_words "names:$verb")";;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
"""
_BASH = "complete -o default -F _medzoo medzoo"
_ZSH = "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -F _medzoo medzoo"


def run(args: list[str]) -> None:
    """Print the script.

    Raises:
        ConfigError: The shell is unknown.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    if args not in (["bash"], ["zsh"]):
        raise ConfigError(f"medzoo completion: expected bash or zsh, got {' '.join(args) or 'nothing'}")
    show(script(args[0]))


def script(shell: str) -> str:
    """Return the script for a shell."""
    cases = "\n".join(f"    {_quoted(key)}) echo {_quoted(' '.join(words))};;" for key, words in word_lists())
    head, end = ("", _BASH) if shell == "bash" else ("#compdef medzoo\n", _ZSH)
    return head + _SCRIPT.format(shell=shell, cases=cases, runs=" ".join(_RUNS)) + end


def word_lists() -> Iterator[tuple[str, list[str]]]:
    """Yield what stands in a place by the place's key: `verbs`, `flags:fit`, `--model`, `model:uod` and more."""
    from medzoo.core.runs.loggers import LOGGERS

    verbs = {spec.name: spec for spec in specs("verb")}
    yield "verbs", [*verbs, "--help", "--version"]
    for name, spec in verbs.items():
        yield f"flags:{name}", [*flags_of(spec), "--help", "--debug", "--offline"]
    kinds = {kind: names(kind) for kind in ("model", "datamodule", "selector", "weight")}
    yield "names:predict", kinds["weight"]
    yield "names:export", kinds["weight"]
    yield "names:select", kinds["selector"]
    yield "names:info", sorted({name for known in kinds.values() for name in known})
    yield "--logger", list(LOGGERS)
    yield "--trainer.accelerator", ["auto", "cpu", "gpu"]
    for key, kind in (("model", "model"), ("data", "datamodule")):
        yield f"--{key}", kinds[kind]
        for spec, options in plug_ins(key):
            yield f"{key}:{spec.name}", [f"--{key}.{option.name}" for option in options]
            if key == "model" and spec.card.get("data"):
                yield f"data-of:{spec.name}", [str(spec.card["data"])]
            for option in options:
                if words := choices(option.kind):
                    yield f"{key}:{spec.name}:--{key}.{option.name}", words


def flags_of(verb: Spec) -> list[str]:
    """Return the options that a verb's help pages list and, of verbs that run a model, the trainer's everyday ones."""
    from medzoo.core.cli.help_page import TRAINER

    page = io.StringIO()
    with redirect_stdout(page):
        load(verb)(["--help"])
        if verb.name == "predict":
            load(verb)(["CKPT", "--help"])  # of files
    found = dict.fromkeys(re.findall(r"^\s+(?:-\w, )?(--[a-z][\w.-]*)", page.getvalue(), re.MULTILINE))
    return [*found, *(("--model", "--data", *(f"--trainer.{name}" for name in TRAINER)) if verb.name in _RUNS else ())]


def _quoted(text: str) -> str:
    """Return a text as one word of a shell; names of plug-ins come from outside."""
    return "'" + text.replace("'", "'\\''") + "'"
