"""`medzoo zero-shot CKPT IMAGES --prompts "a; b"`: from a command line to a table."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError

HELP = """usage: medzoo zero-shot MODEL IMAGES --prompts "pleural effusion; pneumothorax" [options]

Scores images for findings that are named when it is asked, with a trained model of image and text. Writes
predictions.csv (a row an image: the logit of each class, where its map is highest, and whether it is called, of classes
that the model has a threshold of) and overlays/ in the pixels of the images. Not for diagnosis.
  MODEL             a checkpoint, or a local folder of open_clip or of Hugging Face's CLIP
  IMAGES            a file, or a folder of files
  --prompts TEXT    names with ; between them, or a YAML file with classes and their sentences; where each class has
                    positive and negative ones, its score is the difference of both
  --preset NAME     how names become sentences: biovil, carzero, chexzero, clip, ctclip, gloria or name (default: that
                    of the model)
  --overlays N      write the maps of the N classes with the highest logits of each image (default: 0)
  --batch N         images at a time; results do not depend on it (default: 16)
  --run_dir DIR     folder of the results (default: runs/zero-shot/NAME/N)
"""
_VALUED = ("--prompts", "--preset", "--overlays", "--batch", "--run_dir")


def run(args: list[str]) -> None:
    """Score images and print what came of it.

    Raises:
        ConfigError: The arguments are wrong, or the model does not compare images with texts.
        DataError: An image cannot be read.
    """
    check_values(args)
    values: dict[str, str] = {}
    rest: list[str] = []
    queue = split_equals(args, _VALUED)
    if {"--help", "-h"} & set(queue):
        show(HELP)
        return
    while queue:
        flag = queue.pop(0)
        if flag in _VALUED:
            values[flag] = take_value(flag, queue)
        elif flag.startswith("-"):
            raise ConfigError(f"{flag}: medzoo zero-shot has no such option; see medzoo zero-shot --help")
        else:
            rest.append(flag)
    if len(rest) != 2:
        raise ConfigError("medzoo zero-shot needs a checkpoint and images, such as last.ckpt chest.png")
    if "--prompts" not in values:
        raise ConfigError('medzoo zero-shot needs --prompts, such as --prompts "pleural effusion; pneumothorax"')
    numbers = {
        name: _count(name, values.get(name, default)) for name, default in (("--overlays", "0"), ("--batch", "16"))
    }
    _score(rest[0], Path(rest[1]), values, numbers)


def _score(checkpoint: str, place: Path, values: dict[str, str], numbers: dict[str, int]) -> None:
    from medzoo.core.errors import DataError
    from medzoo.core.io import file_name, read_header, write_csv, write_image, write_json
    from medzoo.core.io.listing import image_files, no_image, unread_images
    from medzoo.core.runs.folder import discard, given_run_folder, new_run_folder
    from medzoo.core.runs.results import versions
    from medzoo.core.zoo import load_checkpoint
    from medzoo.vlm.method import ImageTextMethod
    from medzoo.vlm.text.prompts import names_file, read_prompts
    from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier, overlay, read_pixels
    from medzoo.vlm.zero_shot.clip import ClipModel, load_clip

    if "--preset" in values and names_file(values["--prompts"]):
        raise ConfigError("--preset: a YAML file has its own sentences; leave --preset out, or give names")
    model = load_clip(Path(checkpoint)) if Path(checkpoint).is_dir() else load_checkpoint(checkpoint)
    preset = model.preset if isinstance(model, ImageTextMethod | ClipModel) else "carzero"
    classifier = ZeroShotClassifier(
        model, read_prompts(values["--prompts"], values.get("--preset", preset)), numbers["--batch"]
    )
    if not place.exists():
        raise DataError(place, "does not exist", "give an image, or a folder of images")
    paths = [str(place)] if place.is_file() else list(image_files(place).values())
    if not paths:
        raise no_image(place, "put PNG, JPEG, TIFF or DICOM files there")
    if place.is_dir() and (unread := unread_images(place)):
        raise unread[0]
    for path in paths:
        read_header(path)
    given = values.get("--run_dir")
    folder = given_run_folder(Path(given), False) if given else new_run_folder("zero-shot", place.resolve().stem)
    rows, named = [], classifier.prompts
    try:
        for scored in classifier.stream(paths, maps=True):
            rows.append(scored.row())
            best = sorted(scored.logits, key=lambda name: -scored.logits[name])
            for name in best[: numbers["--overlays"]]:
                picture = overlay(read_pixels(scored.path), scored.maps[name])
                write_image(folder / "overlays" / f"{file_name(scored.id)}_{file_name(name)}.png", picture)
            if len(rows) <= 20:
                say(f"{scored.id}: " + ", ".join(f"{name} {scored.logits[name]:.3f}" for name in best[:5]))
    except BaseException:
        discard(folder, numbered=given is None)
        raise
    write_csv(folder / "predictions.csv", rows)
    sentences = {
        prompt.name: {"positive": list(prompt.positive), "negative": list(prompt.negative)} for prompt in named.classes
    }
    about = {"schema": 1, "checkpoint": checkpoint, "prompts": sentences, "combine": named.combine}
    write_json(folder / "results.json", {**about, "images": len(rows), "versions": versions()})
    say(f"run folder: {folder}")


def _count(option: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ConfigError(f"{option}: expected a whole number, got {text}") from error
    if number < 0:
        raise ConfigError(f"{option}: expected at least 0, got {text}")
    return number
