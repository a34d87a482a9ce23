"""`medzoo fit`, `validate`, `test` and `predict`. Names are checked before torch is imported."""

from __future__ import annotations

from medzoo.core.cli.request import Request
from medzoo.core.cli.usage import print_usage


def fit(args: list[str]) -> None:
    """Train a model, test it, leave a run folder."""
    _start("fit", args)


def validate(args: list[str]) -> None:
    """Evaluate a checkpoint on the validation images."""
    _start("validate", args)


def test(args: list[str]) -> None:
    """Evaluate a checkpoint on the test images."""
    _start("test", args)


def predict(args: list[str]) -> None:
    """Write predictions for images: of files where a checkpoint comes first, else of a data module."""
    if args and (not args[0].startswith("-") or {"-o", "--out"} & {arg.partition("=")[0] for arg in args}):
        from medzoo.core.files.verb import run

        run(args)
        return
    _start("predict", args)


def _start(verb: str, args: list[str]) -> None:
    request = Request.parse(verb, args)
    if request.model is None and not (request.ckpt_path or request.init_from):
        print_usage(verb)  # the help of no model in particular, the one thing that may be asked without any
        return
    from medzoo.core.cli.run import run

    run(request)
