"""`medzoo export`: the command line; torch is imported once the arguments are known to be right."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_values
from medzoo.core.errors import ConfigError, DataError, MedzooError, check_choice

HELP = """usage: medzoo export X --format onnx|pt2 [-o FILE] [--check DIR] [--source NAME]

Writes a trained model (a checkpoint, or a folder of medzoo pack) as one graph that runs without medzoo: images in
[0, 1] of any size in, the answer in their pixels out. Resizing, normalisation, decoding and threshold are inside, names
and a description go along.
  --format NAME   onnx (needs pip install 'medzoo-core[export]'), or pt2 of torch.export; the ending of FILE where not
                  given
  -o, --out FILE  the file, MODEL.onnx or MODEL.pt2 where not given; it must not exist
  --check DIR     compare the file's answers with the model's on images of one's own, cut to 20 odd sizes or more;
                  the exit code is 4 where they differ by more than is allowed
  --source NAME   anatomy or category, where the model knows several: a file answers for one
"""
_OPTIONS = ("--format", "--out", "--check", "--source")


class UnequalError(MedzooError):
    """A file that does not answer as the model does."""

    exit_code = 4


def run(args: list[str]) -> None:
    """Export a model.

    Raises:
        ConfigError: The arguments are wrong, or the model cannot be exported.
        CheckpointError: The weights cannot be read.
        UnequalError: The file does not answer as the model does.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo export needs X and --format")
        return
    words, values = words_and_values(args, _OPTIONS)
    if len(words) != 1:
        raise ConfigError(f"medzoo export needs one checkpoint or packed folder, got {' '.join(words) or 'none'}")
    out = values.get("--out")
    kind = values.get("--format") or (Path(out or "").suffix.lstrip(".") or "none")
    check_choice("format", kind, ("onnx", "pt2"))
    if out is not None and Path(out).suffix != f".{kind}":
        raise ConfigError(f"-o {out}: expected a name that ends in .{kind}")
    _export(words[0], kind, None if out is None else Path(out), values.get("--check"), values.get("--source"))


def _export(weights: str, kind: str, out: Path | None, check: str | None, source: str | None) -> None:
    from medzoo.core.runs.weights import located

    weights = located(weights)
    if not Path(weights).exists():
        raise DataError(weights, "does not exist", "give a checkpoint, or a folder of medzoo pack")
    from medzoo.core.export.check import compared, odd_sizes, runner
    from medzoo.core.export.graph import graph_of
    from medzoo.core.export.write import description, require_onnx, write
    from medzoo.core.files.paths import expand

    if kind == "onnx":
        require_onnx()
    images = expand([check]) if check is not None else []
    graph, predictor = graph_of(weights, source)
    path = out or Path(f"{predictor.spec.name}.{kind}")
    if path.exists():
        raise ConfigError(f"-o {path}: exists; name another file")
    about = description(graph, predictor, weights)
    write(graph, path, kind, about)
    say(f"{predictor.spec.name} exported: {path}, {path.stat().st_size / 2**20:.1f} MB ({about['notice']})")
    if check is None:
        return
    unit = {"points": " px"}
    table = compared(graph, runner(path, list(about["outputs"])), odd_sizes(images, graph.channels), about["facts"])
    wrong = []
    for name, row in table.items():
        say(f"{name}: differs by {row['difference']:.2g}{unit.get(name, '')} at most, {row['flips']} other decisions")
        if not row["difference"] <= row["allowed"] or row["flips"]:
            wrong.append(f"{name} by {row['difference']:.2g} (allowed {row['allowed']:g})")
    if wrong:
        raise UnequalError(f"{path}: does not answer as the model does: {', '.join(wrong)}")
