"""The `medzoo` command. This module stays light: a verb's own module is imported when the verb is used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from medzoo.core.cli.streams import say, secure_streams, show
from medzoo.core.errors import FULL, ConfigError, DataErrors, Interrupted, MedzooError, first_line
from medzoo.core.registry import Spec, load, names, specs

_ORDER = ("fit", "validate", "test", "predict", "select", "list", "info", "check", "doctor")
"""Of the verbs in the help; those of other packages follow."""
_CORE = "medzoo-core"
HELP = """usage: medzoo VERB [options]

{verbs}

first steps:
  medzoo fit --model uod                          train on built-in images, with the model's quick settings
  medzoo fit --model uod --data chest --data.root DIR
  medzoo fit --model uod --help                   the model's options
  medzoo fit --model uod --config uod/paper       the paper's settings
  medzoo test --ckpt_path runs/uod/chest/0/checkpoints/last.ckpt --data.root OTHER
  medzoo predict runs/uod/chest/0/checkpoints/last.ckpt PATH ... -o OUT      files or folders of images

options of every verb: --help, --debug (show where an error came from), --offline (fetch nothing, see hf://)
"""

_LONGEST = 2000
"""Characters of a line on one error; the paths in it come first."""
_LOST = re.compile(r"gloo.*(?:Connection (?:reset|closed)|Broken pipe)", re.DOTALL)
"""What gloo says where it loses a process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments after the program's name; those of the process where `None`.

    Returns:
        0 on success, 2 on bad input or usage, 1 on a defect of medzoo or a failed training, 3 where some files have no
        answer, 4 where figures left the spread of a baseline, 128 + n after signal n.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    secure_streams()
    if "--offline" in args:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it
    args = [a for a in args if a not in ("--debug", "--offline")]
    try:
        _dispatch(args)
        sys.stdout.flush()
    except Interrupted as stop:
        say(f"medzoo: error: {stop}", error=True)
        return stop.exit_code
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return 130
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning answers Ctrl-C with exit code 1 …
            return 130
        if type(stop).__name__ == "SIGTERMException":  # … and SIGTERM with 0
            return 143
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
    except Exception as error:
        if debug:
            raise
        return _report(error)
    return 0


def _dispatch(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        verbs = sorted(
            _verbs(*names("verb")).items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)
        )
        show(HELP.format(verbs="\n".join(f"  {name:<14}{spec.summary}" for name, spec in verbs)))
        return
    if args[0] in ("--version", "-V"):
        from importlib.metadata import version

        say(f"medzoo {version(_CORE)}")
        return
    verb, rest = args[0], args[1:]
    known = names("verb")
    if verb in known:
        load(_verbs(verb)[verb])(rest)
    elif verb.startswith("-"):
        raise ConfigError(f"the verb comes first: medzoo VERB {verb} …, with VERB one of {', '.join(known)}")
    else:
        from medzoo.core.spelling import nearest

        close = nearest(verb, known)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        raise ConfigError(f"no verb {verb!r}; {hint}")


def _verbs(*wanted: str) -> dict[str, Spec]:
    """Return verbs by name; no package can take the place of one of core's."""
    return {spec.name: spec for spec in sorted(specs("verb", *wanted), key=lambda spec: spec.package == _CORE)}


def _report(error: Exception) -> int:
    """Print an error as one line and return its exit code; a defect of ours leaves its traceback in a file."""
    if isinstance(error, MedzooError):
        _tell(error)
        return error.exit_code
    # An error in a loader's worker arrives as a text that ends with the original line.
    ours = re.findall(r"^medzoo\.core\.errors\.\w+: (.+)$", str(error), re.MULTILINE)
    if ours:
        _tell(ours[-1])
        return 2
    if isinstance(error, OSError) and error.errno in FULL:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        say(f"medzoo: error: {where}cannot be written ({error.strerror}); make room and start again", error=True)
        return 1
    if _LOST.search(str(error)):
        text = "another process of this run has ended, and this one cannot go on without it"
        say(f"medzoo: error: {text}; see why it ended, then continue with medzoo fit --resume", error=True)
        return 1
    kept = _keep_traceback(error)
    cure = f"please report it with {kept}" if kept else "please report it with what --debug shows"
    say(f"medzoo: internal error: {type(error).__name__}: {first_line(error)} ({cure})", error=True)
    return 1


def _tell(error: object) -> None:
    """Print an error in one line; of one that quotes too much of a file or an argument only beginning and end."""
    text = str(error)
    most = _LONGEST * (4 if isinstance(error, DataErrors) else 1)
    short = text if len(text) <= most else f"{text[: most * 3 // 4]} … {text[-most // 5 :]}"
    say(f"medzoo: error: {short}", error=True)


def _keep_traceback(error: Exception) -> str | None:
    """Write a traceback into a file and return its name; None where even that cannot be written."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".txt", prefix="medzoo-traceback-", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return None
    return file.name
