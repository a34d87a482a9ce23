"""What the checkpoint that a command names says of the model and its data, as a layer of the settings."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from medzoo.core.cli.options import options_of_class
from medzoo.core.cli.parser import check_settings
from medzoo.core.cli.request import Request, add_frozen
from medzoo.core.errors import CheckpointError, ConfigError, PluginError
from medzoo.core.recipes import packaged_recipe
from medzoo.core.registry import load
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.saved import Saved, saved, sized_as
from medzoo.core.runs.schema import CHANGED

Settings = tuple[list[str], AbstractContextManager[object]]


def settings_of_checkpoint(request: Request) -> Settings:
    """Return the settings in the checkpoint of `--ckpt_path` or `--init_from` as parser arguments.

    They lie above the packaged recipe, and the command line wins over them. Model and data that the request leaves open
    are noted in it.

    Returns:
        The arguments, and a context in which no model far larger than the checkpoint's can be built.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is of another model than the command says.
    """
    if request.ckpt_path:
        return _to_continue(request, request.ckpt_path)
    assert request.init_from, "the command names no checkpoint"
    return _to_start(request, request.init_from)


def _to_continue(request: Request, path: str) -> Settings:
    """Those of model and data, for `--ckpt_path`."""
    checkpoint = read_checkpoint(path)
    arguments: list[str] = []
    for key, kind in (("model", "model"), ("data", "datamodule")):
        kept = saved(checkpoint, kind, path)
        chosen = request.model if key == "model" else request.data
        if kept is None:
            continue
        if key == "data":
            request.trained_on = cast("str | None", kept.settings.get("root"))
        if chosen is not None and chosen.class_path != kept.spec.class_path:
            if key == "model":
                raise CheckpointError(f"{path}: made by {kept.spec.name}, asked for {chosen.name}")
            continue
        if key == "model":
            request.model = kept.spec
        else:
            request.data = kept.spec
        arguments += _arguments(key, kept, path)
    if request.model is None:
        raise CheckpointError(f"{path}: does not name its model, which is in 'hyper_parameters'; add --model NAME")
    if request.data is None and not request.configures_data and "--help" not in request.switches:
        raise CheckpointError(
            f"{path}: does not name its data, which are in 'datamodule_hyper_parameters'; add --data NAME"
        )
    if request.verb == "fit":
        states = cast("dict[str, dict[str, object]]", checkpoint.get("callbacks", {}))
        add_frozen(request.frozen, states.get("FrozenParts", {}).get("names", []), f"{path}: 'callbacks.FrozenParts'")
    return arguments, sized_as(path, checkpoint)


def _to_start(request: Request, path: str) -> Settings:
    """Those of the model alone, for `--init_from`, where the command asks for the same one without a recipe by name.

    What a model leaves open until it sees its data, or reads from a file, stays so: options, of its base classes too,
    that are None both by default and in its recipe, but for those that belong to the weights.
    """
    checkpoint = read_checkpoint(path)
    try:
        kept = saved(checkpoint, "model", path)
    except PluginError:
        if request.model is None:
            raise
        kept = None
    same = kept is not None and (request.model is None or request.model.class_path == kept.spec.class_path)
    if kept is None or not same or request.base is not None:
        return [], nullcontext()
    request.model = kept.spec
    model_class = load(kept.spec)
    recipe = packaged_recipe(kept.spec)["model"].get("init_args", {})
    left = {o.name for o in options_of_class(model_class, "model") if o.default is None and recipe.get(o.name) is None}
    left -= set(getattr(model_class, "of_weights", ()))
    closed = {name: value for name, value in kept.settings.items() if name not in left}
    return _arguments("model", Saved(kept.spec, closed), path), sized_as(path, checkpoint)


def _arguments(key: str, kept: Saved, path: str) -> list[str]:
    try:
        check_settings(key, load(kept.spec), kept.settings)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}; {CHANGED}") from error
    return ["--config", json.dumps({key: {"class_path": kept.spec.class_path, "init_args": kept.settings}})]
