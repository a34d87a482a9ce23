"""The sample contract: the keys that readers fill, networks read and writers give back, for every package.

A data set yields samples of one kind, a `TypedDict` below or one of a task or package that extends it. The annotation
of a key says how its values become a batch: tensors are stacked, numbers become a tensor, everything else a list,
unless a `Rule` is given. Coordinates are `(x, y[, z])` in pixels of the ORIGINAL image, float, with the origin at the
centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Annotated, Any, NotRequired, Required, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError


class Rule(Enum):
    """How the values of a key become those of a batch."""

    STACK = "stack"
    """Tensors of one shape, along a new first axis."""
    PAD = "pad"
    """Tensors that differ in the length of their first axis, stacked with zeros behind the shorter ones; the lengths
    are in the key `<key>_length`, `(B,)` int64."""
    NUMBER = "number"
    """Numbers, as a tensor `(B,)`: int64, bool, or float32."""
    LIST = "list"
    """As they are."""


class Sample(TypedDict):
    """What every data set yields."""

    id: str
    """Name of the sample, unique in its source."""
    path: str
    """File it was read from; empty for a phantom."""
    source: NotRequired[str]
    """Name of what it comes from: an anatomy, a category, a data set. Results are separate for each."""
    domain: NotRequired[int]
    """Index of the source in the data module's list of them."""
    patient: NotRequired[str]
    """Whose it is; empty where nobody knows. Intervals draw patients."""
    groups: NotRequired[dict[str, int]]
    """Sensitive attributes by name, −1 where unknown."""


class ImageSample(Sample):
    """A sample with an image."""

    image: Tensor
    """`(C, *S)` float32, in `[0, 1]` for photographs and radiographs, Hounsfield units for CT."""
    affine: Tensor
    """`(nd, nd + 1)` float64, maps original pixel coordinates to those of `image`."""
    original_size: Tensor
    """`(nd,)` int64, extent of the original image along x, y[, z]."""
    spacing: NotRequired[Tensor]
    """`(nd,)` float32, mm per original pixel along x, y[, z]; NaN where the file does not say."""
    world: NotRequired[Tensor]
    """`(4, 4)` float64, maps original voxels `(x, y, z)` to the scanner's millimetres."""
    stored: NotRequired[Tensor]
    """`(4, 4)` float64, maps original voxels `(x, y, z)` to those of the file, whose axes may be others."""


class LandmarkSample(ImageSample):
    """A sample with points; training samples of one-shot methods do NOT carry these keys (the label firewall)."""

    landmarks: NotRequired[Tensor]
    """`(K, nd)` float32, original pixels, NaN where missing."""
    visible: NotRequired[Tensor]
    """`(K,)` bool, true where the point was annotated."""
    scale: NotRequired[Tensor]
    """`(nd,)` float32, one original pixel in the domain's unit of error (mm, or pixels of a reference frame)."""


class MaskSample(ImageSample):
    """A sample of a segmentation or anomaly task."""

    mask: NotRequired[Annotated[Tensor, Rule.LIST]]
    """`(*S)` int64 labels or bool, in the geometry of the original image."""
    label: NotRequired[Tensor]
    """`()` int64 class of the whole image."""
    kind: NotRequired[str]
    """What is wrong with it, as far as known."""


class SignalSample(Sample):
    """A stretch of a record of several leads, such as an electrocardiogram."""

    signal: Tensor
    """`(L, T)` float32 mV, as the network sees it: filtered, at `rate`, its leads in the order of `leads`."""
    rate: float
    """Samples a second of `signal`."""
    leads: list[str]
    """Names of the leads."""
    beats: Annotated[Tensor, Rule.LIST]
    """`(N,)` int64, R peaks as samples of `signal`; empty where none was found."""
    start: float
    """Seconds from the beginning of the record to the first sample."""
    original_rate: float
    """Samples a second of the record itself, at which results are given."""
    original_length: int
    """Samples of the stretch at that rate."""
    age: NotRequired[float]
    """Years, NaN where unknown."""
    sex: NotRequired[float]
    """0 male, 1 female, NaN where unknown."""
    mask: NotRequired[Annotated[Tensor, Rule.LIST]]
    """`(L, original_length)` bool, where the record is abnormal."""
    label: NotRequired[Tensor]
    """`()` int64, 1 where the stretch is abnormal; or `(C,)` float32 of 0, 1 and NaN where a label was not looked for.
    """
    kind: NotRequired[str]
    """What is wrong with it, as far as known."""
    notes: NotRequired[list[str]]
    """What was mended, or makes a score doubtful, a remark each."""


class ClipSample(Sample):
    """A moving picture, such as an ultrasound clip, with frames at which something is asked."""

    clip: Annotated[Tensor, Rule.PAD]
    """`(T, H, W)` float32 in `[0, 1]`."""
    rate: float
    """Frames a second, NaN where unknown."""
    keys: Annotated[Tensor, Rule.LIST]
    """`(N,)` int64, the key frames."""
    phases: list[str]
    """Of each key frame its phase, such as `d` and `s` for the ends of diastole and systole."""
    affine: Tensor
    """`(2, 3)` float64, maps original pixel coordinates of a frame to those of `clip`."""
    original_size: Tensor
    """`(2,)` int64, extent of an original frame along x, y."""
    spacing: Tensor
    """`(2,)` float32, mm per original pixel along x, y; NaN where the file does not say."""
    landmarks: NotRequired[Annotated[Tensor, Rule.LIST]]
    """`(N, K, 2)` float32, original pixels at the key frames, NaN where missing."""


Batch = dict[str, Any]
"""Samples as `collate` joins them."""


@cache
def rules(kind: type) -> dict[str, Rule]:
    """Return the keys of a kind of samples with their rules.

    Args:
        kind: A `TypedDict`.
    """
    assert is_typeddict(kind), f"{kind} is not a TypedDict"
    return {key: _rule(hint) for key, hint in get_type_hints(kind, include_extras=True).items()}


@cache
def required(kind: type) -> frozenset[str]:
    """Return the keys that every sample of a kind has.

    Args:
        kind: A `TypedDict`, whose own `__required_keys__` know nothing of annotations that are texts (PEP 563).
    """
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(key for key, hint in hints.items() if get_origin(hint) is not NotRequired)


def _rule(hint: object) -> Rule:
    while get_origin(hint) in (Required, NotRequired):
        hint = get_args(hint)[0]
    if get_origin(hint) is Annotated:
        return next(extra for extra in get_args(hint)[1:] if isinstance(extra, Rule))
    if hint is Tensor:
        return Rule.STACK
    return Rule.NUMBER if hint in (int, float, bool) else Rule.LIST


def collate(samples: Sequence[Mapping[str, object]], kind: type | None = None) -> Batch:
    """Join samples to a batch.

    Args:
        samples: All with the same keys.
        kind: Their `TypedDict`; None takes the rules from the values of the first sample.

    Raises:
        ConfigError: A sample lacks a key that others have or that its kind requires, or has one that its kind does not
            know, or tensors cannot be stacked; the message names key and id.
    """
    keys = dict.fromkeys(key for sample in samples for key in sample)
    known = {key: _rule_of_value(next(s[key] for s in samples if key in s)) for key in keys}
    if kind is not None:
        known = rules(kind)
        keys |= dict.fromkeys(sorted(required(kind)))
    batch: Batch = {}
    for key in keys:
        without = next((sample for sample in samples if key not in sample), None)
        if without is not None:
            raise ConfigError(
                f"sample {without.get('id', '?')!r} has no {key!r}, which others of its batch or kind have"
            )
        if key not in known:
            name = samples[0].get("id", "?")
            assert kind is not None
            raise ConfigError(f"sample {name!r} has a key {key!r} that {kind.__name__} does not know; add it there")
        batch |= _joined(key, [sample[key] for sample in samples], known[key], samples)
    return batch


def _joined(key: str, values: list[Any], rule: Rule, samples: Sequence[Mapping[str, object]]) -> Batch:
    if rule is Rule.LIST:
        return {key: values}
    if rule is Rule.NUMBER:
        return {key: torch.tensor(values)}
    first = 1 if rule is Rule.PAD else 0  # the axis from which on all must have one size
    odd = next((i for i, value in enumerate(values) if value.shape[first:] != values[0].shape[first:]), None)
    if odd is not None:
        shapes = f"{tuple(values[odd].shape)}, that of {samples[0].get('id', '?')!r} {tuple(values[0].shape)}"
        raise ConfigError(f"sample {samples[odd].get('id', '?')!r}: {key!r} is {shapes}; they cannot be stacked")
    if rule is Rule.PAD:
        lengths = torch.tensor([len(value) for value in values])
        return {key: torch.nn.utils.rnn.pad_sequence(values, batch_first=True), f"{key}_length": lengths}
    return {key: torch.stack(values)}


def _rule_of_value(value: object) -> Rule:
    if isinstance(value, Tensor):
        return Rule.STACK
    return Rule.NUMBER if isinstance(value, bool | int | float) else Rule.LIST


def misfit(batch: Batch, kind: type) -> str | None:
    """Return why a batch is not one of samples of a kind, or None where it is.

    Args:
        batch: As `collate` made it.
        kind: A `TypedDict`.
    """
    known = rules(kind)
    lengths = {f"{key}_length" for key, rule in known.items() if rule is Rule.PAD}
    for key in required(kind):
        if key not in batch:
            return f"{key!r} is missing"
    for key, value in batch.items():
        if key not in known and key not in lengths:
            return f"{key!r} is not a key of {kind.__name__}"
        tensor = key in lengths or known[key] is not Rule.LIST
        if tensor is not isinstance(value, Tensor):
            return f"{key!r} is a {type(value).__name__}"
        if len(value) != len(batch["id"]):
            return f"{key!r} has {len(value)} values, 'id' {len(batch['id'])}"
    return None
