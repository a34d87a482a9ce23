"""`medzoo predict CKPT PATH …`: the command line; torch is imported once the arguments are known to be right."""

from __future__ import annotations

import os
from pathlib import Path

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError, DataError, MedzooError
from medzoo.core.files.formats import NIFTI, check_forms, formats, write_forms, write_maps
from medzoo.core.spelling import nearest

NOTICE = "for research, not for diagnosis"
HELP = """usage: medzoo predict CKPT PATH ... -o OUT [options]

Answers files with a trained model (a checkpoint, a folder of medzoo pack, a name of weights of medzoo list, or
hf://org/name): points, score maps, masks or classes, in the geometry of each file. PATH is an image (PNG, JPEG, TIFF,
NIfTI, DICOM), a folder with images in it or below, or a pattern in quotes. Of a TIFF with several pages each is an
image, FILE.tif#1 the first; models of volumes take a folder of DICOM slices as one, models of signals WFDB headers,
CSV, npz, DICOM waveforms and EDF. Files that OUT has an answer for are skipped. A file that cannot be read is listed
in failed.csv and ends nothing; the exit code is then 3.
  -o, --out OUT      folder of the answers
  --source NAME      anatomy or category of the files, where the model knows several
  --spacing MM       millimetres per pixel of landmarks, where the files do not say
  --hertz HZ         samples a second of records of signals, where the files do not say
  --format NAMES     besides JSON and CSV, landmarks as labelme, coco, cvat or slicer too, several with commas (see
                     medzoo convert); score maps of images as nifti, which lies on the image; signals as wfdb,
                     annotations for viewers
  --trainer.accelerator NAME   cpu, gpu, or auto (default)
"""
_NUMBERS = {"--spacing": "millimetres per pixel", "--hertz": "samples a second"}
_VALUED = ("--out", "--source", *_NUMBERS, "--format", "--trainer.accelerator")


class SomeFailedError(MedzooError):
    """Files without an answer beside others that have one."""

    exit_code = 3


def run(args: list[str]) -> None:
    """Predict files.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: A path does not exist.
        SomeFailedError: Some files have no answer.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    check_values(args)
    values: dict[str, str] = {}
    paths: list[str] = []
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], _VALUED)
    while queue:
        flag = queue.pop(0)
        if flag in _VALUED:
            values[flag] = take_value(flag, queue)
        elif flag.startswith("-"):
            near = nearest(flag, _VALUED)
            hint = f"did you mean {near[0]}?" if near else "see medzoo predict CKPT --help"
            raise ConfigError(f"no option {flag} where files are named; {hint}")
        else:
            paths.append(flag)
    if len(paths) < 2 or "--out" not in values:
        missing = "-o OUT" if len(paths) > 1 else "PATH, files or folders"
        raise ConfigError(f"medzoo predict {paths[0] if paths else 'CKPT'}: needs {missing}")
    _predict(paths[0], paths[1:], values)


def _predict(checkpoint: str, paths: list[str], values: dict[str, str]) -> None:
    from medzoo.core.files.paths import check_there, expand, folded, named, paged, sha256
    from medzoo.core.io.kinds import page_of

    forms = formats(values.get("--format", ""))
    options = {flag[2:]: _number(flag, values[flag]) for flag in _NUMBERS if flag in values}
    check_there(paths)
    from importlib.metadata import version

    from medzoo.core.files.ledger import Ledger
    from medzoo.core.files.predict import Predictor
    from medzoo.core.io import write_csv
    from medzoo.core.runs.weights import located

    checkpoint = located(checkpoint)
    accelerator = values.get("--trainer.accelerator", "auto")
    predictor = Predictor(checkpoint, values.get("--source"), accelerator, **options)
    files = expand(paths, predictor.endings)
    if not predictor.endings:
        files = folded(files) if predictor.volumes else paged(files)
    check_forms(forms, predictor.spec.task, predictor.maps, predictor.forms)
    folder = Path(values["--out"])
    about: dict[str, object] = {
        "model": predictor.spec.name,
        "checkpoint": checkpoint,
        "model_sha256": weights_sha256(checkpoint),
        "medzoo": version("medzoo-core"),
        "source": predictor.source,
        "settings": predictor.settings,
        "notice": NOTICE,
    }
    ledger = Ledger(folder, about)
    known = ledger.hashes()
    sums: dict[str, str] = {}
    hashes, failed, todo = {}, {}, []
    for path in files:
        file = page_of(path)[0]  # whose bytes are those of all its pages
        try:
            if file not in sums:
                sums[file] = sha256(file, predictor.parts(path))
            hashes[path] = sums[file]
        except DataError as error:
            failed[path] = str(error)
            continue
        if known.get(path) != hashes[path]:
            todo.append(path)
            if path in known:
                ledger.drop(path)
    if len(files) - len(todo) - len(failed):
        say(f"skipped, for they have an answer: {len(files) - len(todo) - len(failed)} files")
    by_id = named(todo, {str(record["id"]): str(record["path"]) for record in ledger.records})
    for path, answer in predictor.answers(by_id) if todo else ():
        if isinstance(answer, MedzooError):
            failed[path] = str(answer)
            say(f"failed: {answer}", error=True)
        else:
            saved = answer.save(folder) if answer.save is not None else {}
            ledger.add({**answer.record, **saved, "sha256": hashes[path]})
    ledger.close()
    predictor.model.report_predictions(ledger.records, folder)
    if NIFTI in forms:
        failed |= write_maps(ledger.records)
    for name, kept in write_forms(folder, forms) if forms and ledger.records else ():
        if by_id.get(name) in known:  # the image has changed, and was answered anew
            say(f"left as it is: {kept} is of an earlier state of its image; remove it and call again", error=True)
    for form in predictor.forms.keys() & set(forms):
        predictor.forms[form](ledger.records, folder)
    table = folder / "failed.csv"
    if failed:
        write_csv(table, [{"path": path, "problem": problem} for path, problem in failed.items()])
    elif os.path.lexists(table):
        table.unlink()
    say(f"answers to {len(files) - len(failed)} of {len(files)} files: {folder / 'predictions.json'} ({NOTICE})")
    if failed:
        raise SomeFailedError(f"{len(failed)} of {len(files)} files have no answer, see {table}")


def weights_sha256(path: str) -> str:
    """Return the SHA-256 that stands for a checkpoint, or for packed weights (that of their list of checksums)."""
    from medzoo.core.files.paths import sha256
    from medzoo.core.runs.packed import SUMS, is_packed

    return sha256(Path(path) / SUMS if is_packed(path) else path)


def _number(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-6 < value < 1e6:
        raise ConfigError(f"{flag} {text}: expected a number of {_NUMBERS[flag]} above 0")
    return value
