"""Built-in radiographs of head, hand and chest: drawn when asked for, with exact landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split
from medzoo.core.errors import ConfigError
from medzoo.core.io import Header, Image
from medzoo.core.phantoms import ANATOMIES, Phantom, radiograph
from medzoo.core.sides import check_area, sides
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.module import LandmarkDataModule, LandmarkOptions
from medzoo.landmark.data.sources import NO_SPACING, Images, LandmarkSource, Points, Size

_THRESHOLDS = {"head": (2.0, 2.5, 3.0, 4.0)}
_OTHERS = (2.0, 4.0, 10.0)
_PARTS = ("train", "val", "test")
_THUMBNAIL = 64


@lru_cache(maxsize=1)  # the image, the landmarks and the spacing of a test image are asked for one after the other
def draw(anatomy: str, seed: int, name: str, size: tuple[int, int]) -> Phantom:
    """Draw the phantom of a name such as `train-00007`; parts of the split have seeds of their own.

    Args:
        anatomy: What to draw.
        seed: Seed of the data module.
        name: Part and number.
        size: Height and width in pixels.
    """
    part, _, number = name.partition("-")
    return radiograph(anatomy, (seed, _PARTS.index(part), int(number)), size)


class PhantomImages(Images):
    """Phantoms without their landmarks, drawn when asked for; nothing is kept.

    Args:
        anatomy: What to draw.
        seed: Seed of the data module.
        size: Height and width in pixels.
    """

    def __init__(self, anatomy: str, seed: int, size: tuple[int, int]) -> None:
        self.anatomy, self.seed, self.size = anatomy, seed, size

    def read(self, name: str) -> Image:
        """Draw the image."""
        phantom = draw(self.anatomy, self.seed, name, self.size)
        return Image(phantom.image, phantom.spacing, "")

    def header(self, name: str) -> Header:
        """Return the size; the spacing is drawn with the image."""
        del name
        return Header((self.size[1], self.size[0]), 1, NO_SPACING)

    def thumbnail(self, name: str) -> Image:
        """Draw the image small."""
        phantom = draw(self.anatomy, self.seed, name, (_THUMBNAIL, _THUMBNAIL))
        return Image(phantom.image, phantom.spacing, "")


class PhantomSource(LandmarkSource):
    """Phantoms of one anatomy.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
    """

    on_disk = False

    def __init__(self, domain: Domain, images: PhantomImages, split: Split) -> None:
        super().__init__(domain, images, split)
        self._anatomy, self.seed = images.anatomy, images.seed

    def labelled(self, name: str) -> bool:
        """Every phantom has exact landmarks."""
        del name
        return True

    def label_path(self, name: str) -> str:
        """Return a name for messages: there is no file."""
        return f"phantom {self.domain.name} {name}"

    def points(self, name: str, size: Size) -> Points:
        """Draw the phantom and return its landmarks."""
        return draw(self._anatomy, self.seed, name, (size[1], size[0])).landmarks

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per pixel."""
        del points
        return draw(self._anatomy, self.seed, name, (size[1], size[0])).spacing


class LandmarkPhantoms(LandmarkDataModule):
    """Procedural radiographs of a head (19 landmarks), a hand (37) and a chest (6), errors in mm; nothing to download.

    Args:
        domains: Anatomies, any of head, hand and chest.
        n_train: Training images of each anatomy.
        n_val: Validation images of each anatomy.
        n_test: Test images of each anatomy.
        image_size: Height and width of the drawn images, one number for squares.
    """

    def __init__(
        self,
        domains: Sequence[str] = ("head", "hand", "chest"),
        n_train: int = 100,
        n_val: int = 0,
        n_test: int = 50,
        image_size: int | list[int] = 256,
        **common: Unpack[LandmarkOptions],
    ) -> None:
        super().__init__(**common)
        unknown = [name for name in domains if name not in ANATOMIES]
        if unknown or not domains:
            got = ", ".join(unknown) or "none"
            raise ConfigError(f"--data.domains: expected some of {', '.join(ANATOMIES)}, got {got}")
        check_drawn(least=1, n_train=n_train)
        check_drawn(n_val=n_val, n_test=n_test)
        self._anatomies, self._numbers = tuple(domains), (n_train, n_val, n_test)
        self._drawn = sides("data.image_size", image_size)
        check_area("data.image_size", self._drawn)

    def make_sources(self) -> Sequence[LandmarkSource]:
        """Make one source an anatomy; nothing is drawn yet."""
        return [self._source(anatomy) for anatomy in self._anatomies]

    def _source(self, anatomy: str) -> PhantomSource:
        names = {
            part: tuple(f"{part}-{number:05d}" for number in range(count))
            for part, count in zip(_PARTS, self._numbers, strict=True)
        }
        domain = Domain(anatomy, ANATOMIES[anatomy].landmarks, "mm", _THRESHOLDS.get(anatomy, _OTHERS))
        return PhantomSource(domain, PhantomImages(anatomy, self.seed, self._drawn), Split(**names))
