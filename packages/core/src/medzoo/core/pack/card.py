"""The card of packed weights: what they are, what was measured with them, how they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from medzoo.core.io import markdown_cell
from medzoo.core.registry import Spec


class About(TypedDict):
    """What `model.json` says of a model beside its settings."""

    model: str
    package: str
    medzoo: str
    task: str
    data: str | None
    seed: object
    commit: object
    figures: Mapping[str, object]
    notice: str


_LICENCE = "to be stated by who shares them; that of the training data may limit it"


def card(model: Spec, about: About, images: Sequence[str], licence: str | None = None) -> str:
    """Return the text of `README.md`.

    Args:
        model: What the weights are of.
        about: What `model.json` says of them: data, figures, version, commit.
        images: Names of what is kept of the training images, such as `supports`.
        licence: Of the weights; None where whoever packs them does not say.
    """
    lines = [
        f"# {model.name}",
        "",
        f"{markdown_cell(model.summary)} Task: {markdown_cell(model.task)}. For research, not for diagnosis.",
        "",
        f"- trained on: {markdown_cell(about['data'] or 'not known')}",
        f"- made with: {markdown_cell(model.package)} {model.version}"
        + (f", commit {about['commit']}" if about["commit"] else ""),
        *([f"- paper: {markdown_cell(model.card['paper'])}"] if "paper" in model.card else []),
        f"- licence of these weights: {markdown_cell(licence) if licence else _LICENCE}",
    ]
    if images:
        lines.append(f"- holds images of the training data ({', '.join(images)}), without which it finds nothing")
    lines += ["", "## Figures", ""]
    if about["figures"]:
        lines += [f"On the test images of {markdown_cell(about['data'])}, seed {about['seed']}:", ""]
        lines += ["| figure | value |", "|---|--:|"]
        finite = {name: value for name, value in about["figures"].items() if isinstance(value, int | float)}
        lines += [f"| {markdown_cell(name)} | {value:.4g} |" for name, value in finite.items()]
    else:
        lines.append("None were measured with these weights.")
    commands = ["medzoo predict DIR PATH -o OUT", f"medzoo fit --model {model.name} --init_from DIR"]
    lines += ["", "## Use", "", "```", *commands, "sha256sum -c SHA256SUMS", "```"]
    return "\n".join(lines) + "\n"
