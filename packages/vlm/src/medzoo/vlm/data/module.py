"""The data module that all layouts of images with reports share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, NotRequired, cast

import numpy as np
import torch
from torch import Tensor

from medzoo.core.classifier.data.items import PARTS, Cases, Images, Item, cache_key
from medzoo.core.classifier.data.module import ClassificationDataModule, ClassificationOptions
from medzoo.core.data.cache import ImageCache, Prepared
from medzoo.core.data.options import Unpack
from medzoo.core.errors import check_choice
from medzoo.core.sample import ImageSample
from medzoo.vlm.processor import Processor, ReportWants
from medzoo.vlm.text.rewrite import Rewriter, sentences

CAPTIONS = ("both", "report", "rewritten")
_MEMORY = 2**29


class PairSample(ImageSample):
    """An image and sentences about it, to train on."""

    captions: list[str]
    """Drawn anew in each epoch from the sentences of the report and of its rewriting."""
    said: list[str]
    """All of these sentences."""
    label: NotRequired[Tensor]
    """`(C,)` float32; only for a supervised model that asks for labels, beside which others stand."""


class ReportSample(ImageSample):
    """An image with its report, to be judged."""

    text: str
    """The report; empty where there is none, as for images that are only to be predicted."""
    label: NotRequired[Tensor]
    """`(C,)` float32 of 0, 1 and NaN where a label was not looked for."""
    boxes: NotRequired[dict[str, list[tuple[float, ...]]]]
    """Boxes of each label, where the data have any: first and last pixel in x and y, of the original."""


@dataclass(frozen=True)
class ReportCases(Cases):
    """What a layout found.

    Attributes:
        texts: Report of each image by its id.
        rewritten: Sentences that the data bring for an image, in the place of those of the rules.
        textless: Images that were left out of training, for they have no text.
        boxes: Of the images and their labels: left, top, right and bottom as parts of width and height.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    rewritten: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    textless: tuple[str, ...] = ()
    boxes: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]] = field(default_factory=dict)


class ReportOptions(ClassificationOptions, total=False):
    """Options of `ReportDataModule`."""

    captions: str
    shuffled: bool


class ReportDataModule(ClassificationDataModule):
    """Base of the data modules of images with reports: a subclass finds them, everything else is here.

    Args:
        captions: What an image is trained with: `report` (sentences of the report), `rewritten` («There is X» and
            «There is no X», by rules or as the data bring them), or `both`.
        shuffled: Give each training image the report of another, as a control: nothing can be learnt.
        common: Options of all data of classification.
    """

    sample: ClassVar[type] = ReportSample
    train_sample: ClassVar[type | None] = PairSample

    def __init__(
        self,
        captions: str = "both",
        shuffled: bool = False,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        check_choice("data.captions", captions, CAPTIONS)
        self._captions, self._shuffled = captions, shuffled
        self.rewriter = Rewriter()
        self._kept: Processor | None = None
        """How the images in memory were brought to size; another model may ask for the same size otherwise."""

    @property
    def found(self) -> ReportCases:
        """All images with their reports."""
        return cast(ReportCases, self.cases)

    @property
    def processor(self) -> Processor:
        """How images are brought to the size that the network sees; what the model asks for."""
        wants = self.wants
        own = wants.processor if isinstance(wants, ReportWants) else Processor()
        return Processor(self.size, own.fit, own.zoom)

    @cached_property
    def pools(self) -> dict[str, tuple[str, ...]]:
        """Sentences of each training image, of which some are drawn in each epoch."""
        items = self._part("train")
        found = {item.id: self._pool(item.id) for item in items}
        if self._shuffled:
            order = np.random.default_rng((self.seed, 11)).permutation(len(items))
            pools = list(found.values())
            return {item.id: pools[place] for item, place in zip(items, order, strict=True)}
        return found

    @cached_property
    def _brought(self) -> dict[str, tuple[str, ...]]:
        """Sentences that the data bring, by the report that they rewrite."""
        texts = self.found.texts
        return {texts[name]: said for name, said in self.found.rewritten.items() if texts.get(name)}

    def _pool(self, name: str) -> tuple[str, ...]:
        """Return the sentences of an image."""
        return self.sentences_of(self.found.texts[name], self.found.rewritten.get(name))

    def sentences_of(self, report: str, rewritten: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return the sentences of a report as `captions` asks; where a rewriting has none, those of the report itself.

        Args:
            report: Not empty.
            rewritten: In the place of what the rules say; empty: what the data bring for this report, such as one that
                is looked for among others.
        """
        plain = tuple(sentences(report)) or (report,)
        rewritten = rewritten or self._brought.get(report) or tuple(self.rewriter(report))
        if self._captions == "report":
            return plain
        chosen = rewritten or plain if self._captions == "rewritten" else (*plain, *rewritten)
        return tuple(dict.fromkeys(chosen))

    def corpus(self) -> list[str]:
        """Return all sentences to train on, for a vocabulary."""
        return [text for pool in self.pools.values() for text in pool]

    def reports(self, part: str) -> list[str]:
        """Return the reports of a part, each text once, in the order of ids; the candidates of a retrieval."""
        texts = (self.found.texts.get(item.id, "") for item in sorted(self.cases.parts[part], key=lambda i: i.id))
        return list(dict.fromkeys(text for text in texts if text))

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of images, of each label, and of images without text."""
        del stage
        lines = []
        for part in PARTS:
            have, _ = self.counts(part) if self.classes else ([], [])
            each = ", ".join(f"{count} {name}" for count, name in zip(have, self.classes, strict=True))
            count = len(self.cases.parts[part])
            lines.append(f"{self.cases.name} {part}: {count} images" + (f" ({each})" if each else ""))
        if self.found.textless:
            names = self.found.textless
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            lines.append(f"{self.cases.name}: {len(names)} images without text are not trained on: {shown}")
        return lines

    def _images(self, items: Sequence[Item], augment: float = 0.0) -> ReportImages:
        """Make a data set of images with their reports, over the run's one memory of decoded images."""
        return self._data_set(items, augment, None)

    def _to_train(self, items: Sequence[Item]) -> ReportImages:
        """Make the training images, each varied anew and with new sentences in each epoch."""
        return self._data_set(items, self._augment, self.pools)

    def _data_set(
        self, items: Sequence[Item], augment: float, pools: Mapping[str, tuple[str, ...]] | None
    ) -> ReportImages:
        processor = self.processor
        if self._cache is None or self._kept != processor:
            keys = [cache_key(item) for part in PARTS for item in self.cases.parts[part]]
            self._cache = processor.size, ImageCache(keys, processor.size, _MEMORY, self.num_workers)
            self._kept = processor
        wants = self.wants
        count = wants.sentences if isinstance(wants, ReportWants) else 1
        memory = self._cache[1]
        # Images that are only to be predicted may be called as those of a part, whose reports are not theirs.
        cases = replace(self.found, texts={}, boxes={}) if items is self.found.unlabelled else self.found
        return ReportImages(items, cases, processor, memory, augment, self.seed, pools, count, wants.labels)


class ReportImages(Images):
    """Samples of one part; index with an integer for image and report, with `(index, epoch)` for a training pair.

    Args:
        items: The images.
        cases: Their data set.
        processor: How they are brought to size.
        cache: Memory for decoded images.
        augment: Strength of the variation.
        seed: Seed of it and of the sentences.
        pools: Sentences of each image, to train on.
        sentences: How many of them are drawn.
        labels: Whether a training sample has its label.
    """

    def __init__(
        self,
        items: Sequence[Item],
        cases: ReportCases,
        processor: Processor,
        cache: ImageCache,
        augment: float,
        seed: int,
        pools: Mapping[str, tuple[str, ...]] | None,
        sentences: int = 1,
        labels: bool = False,
    ) -> None:
        super().__init__(items, cases, processor.size, cache, augment, seed)
        self.processor, self.texts, self.pools, self.boxes = processor, cases.texts, pools, cases.boxes
        self.sentences, self.labels = sentences, labels

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, object]:
        index, epoch = key if isinstance(key, tuple) else (key, None)
        item = self.items[index]
        prepared = self._prepared(item)
        image = torch.from_numpy(prepared.image[None].astype(np.float32))
        affine = self.processor.affine(*prepared.size)
        more: dict[str, object] = {}
        if epoch is None:
            more["text"] = self.texts.get(item.id, "")
            if isinstance(item.label, tuple):
                more["label"] = torch.tensor(item.label)
            if self.boxes:
                more["boxes"] = self._boxes(item.id, *prepared.size)
        else:
            assert self.pools is not None
            rng, said = np.random.default_rng((self.seed, epoch, index)), self.pools[item.id]
            drawn = rng.choice(len(said), min(self.sentences, len(said)), replace=False)
            more |= {"captions": [said[place] for place in drawn], "said": list(said)}
            if self.labels and isinstance(item.label, tuple):
                more["label"] = torch.tensor(item.label)
            if self.augment:
                image, affine = self._varied(image, affine, rng)
        return {
            "id": item.id,
            "path": item.path,
            "source": self.name,
            "domain": 0,
            "patient": item.patient,
            "image": image,
            "affine": torch.from_numpy(affine),
            "original_size": torch.tensor(prepared.size),
            "spacing": torch.tensor(prepared.spacing, dtype=torch.float32),
            **({"groups": dict(item.groups)} if item.groups else {}),
            **more,
        }

    def _boxes(self, name: str, width: int, height: int) -> dict[str, list[tuple[float, ...]]]:
        """Return the boxes of an image: x and y of the first and of the last pixel."""
        return {
            label: [(x * width, y * height, right * width - 1, bottom * height - 1) for x, y, right, bottom in own]
            for label, own in self.boxes.get(name, {}).items()
        }

    def _prepared(self, item: Item) -> Prepared:
        """Return an image as the network sees it, in half precision whether it comes from memory or not."""
        key = cache_key(item)
        found = self.cache.get(key)
        if found is None:
            array, spacing = item.load()
            found = Prepared(self.processor(array).astype(np.float16), (array.shape[1], array.shape[0]), spacing)
            self.cache.put(key, found)
        return found
