"""Local folders of open_clip and of Hugging Face's CLIP, as models that are asked by sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medzoo.core.errors import ConfigError, DataError
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.processor import Processor
from medzoo.vlm.text.encoder import TextFeatures

_INSTALL = "run: pip install 'medzoo-vlm[clip]'"
Seen = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""From images `(B, 3, H, W)` to features of wholes, and of patches where the network has some."""


class ClipModel(nn.Module):
    """Compares images with texts by the cosine of their features, times the model's scale.

    Args:
        model: The network, which is held here for its weights.
        see: Returns features of images, and of their patches in the same space.
        read: Returns features of texts.
        measure: Returns for each text its number of pieces, uncut.
        limit: Most pieces of a text.
        scale: What cosines are multiplied by.
        bias: What is added.
        processor: How images are brought to size.
        levels: Mean and standard deviation of each colour.
    """

    preset = "clip"
    levels: Tensor

    def __init__(
        self,
        model: nn.Module,
        see: Seen,
        read: Callable[[list[str]], Tensor],
        measure: Callable[[list[str]], list[int]],
        limit: int,
        scale: float,
        bias: float,
        processor: Processor,
        levels: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        super().__init__()
        self.model, self.processor = model, processor
        self._see, self._read, self._measure, self._limit = see, read, measure, limit
        self.scale, self.bias = scale, bias
        self.register_buffer("levels", torch.tensor(levels)[:, None, :, None, None])
        self.cuts: Mapping[str, float] = {}

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.levels.device

    def check_text(self, texts: Sequence[str], what: str) -> None:
        """Refuse a text that would be cut.

        Raises:
            ConfigError: There is one.
        """
        for text, count in zip(texts, self._measure(list(texts)), strict=True):
            if count > self._limit:
                raise ConfigError(f"{what}: {text[:40]!r}… is longer than {self._limit} pieces; shorten it")

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Return the features of images `(B, 1, H, W)` in [0, 1]."""
        mean, spread = self.levels
        whole, patches = self._see((image.expand(-1, 3, -1, -1) - mean) / spread)
        if patches is None:
            return ImageFeatures(whole, whole[:, None], (1, 1))
        side = round(patches.shape[1] ** 0.5)
        return ImageFeatures(whole, patches, (side, patches.shape[1] // side))

    def encode_text(self, texts: Sequence[str]) -> TextFeatures:
        """Return the features of texts, at least one."""
        found = self._read(list(texts))
        return TextFeatures(found, found[:, None], torch.ones(len(found), 1, dtype=torch.bool, device=found.device))

    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the logits `(images, texts)`, each of its pair alone."""
        cosine = functional.normalize(image.globals, dim=-1) @ functional.normalize(text.globals, dim=-1).T
        return self.scale * cosine + self.bias

    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the cosine of each patch with each text, `(images, texts, rows, columns)`."""
        patches, texts = functional.normalize(image.tokens, dim=-1), functional.normalize(text.globals, dim=-1)
        found: Tensor = (texts @ patches.transpose(1, 2)).unflatten(2, image.grid)
        return found


def load_clip(folder: Path) -> ClipModel:
    """Load a local folder: of open_clip (`open_clip_config.json`) or of transformers (`config.json`).

    Raises:
        ConfigError: The library is not installed.
        DataError: The folder has neither file, or they are of another model, or the weights are missing.
    """
    for name, load in (("open_clip_config.json", _open_clip), ("config.json", _transformers)):
        path = folder / name
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf8"))
                return load(folder, content)
            except ImportError as error:
                raise ConfigError(f"{folder}: needs the library {error.name}; {_INSTALL}") from error
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
                problem = f"cannot be read as CLIP ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
                raise DataError(folder, problem, "give a whole folder of CLIP with its tokenizer") from error
    raise DataError(folder, "has no config.json or open_clip_config.json", "give a checkpoint, or a folder of CLIP")


def _transformers(folder: Path, content: dict[str, Any]) -> ClipModel:
    kind = content.get("model_type")
    if kind != "clip":
        raise DataError(folder / "config.json", f"is of the kind {kind!r}", "give a folder of CLIP")
    if not (folder / "model.safetensors").is_file():
        raise DataError(folder, "has no model.safetensors", "save the model with save_pretrained, which writes it")
    library = import_module("transformers")
    model = library.CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf8"))
    vision, size = model.vision_model, model.config.vision_config.image_size

    def see(image: Tensor) -> tuple[Tensor, Tensor]:
        found = vision(pixel_values=image)
        patches = vision.post_layernorm(found.last_hidden_state[:, 1:])
        return model.visual_projection(found.pooler_output), model.visual_projection(patches)

    def read(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        given = {key: tokens[key].to(model.device) for key in ("input_ids", "attention_mask")}
        found: Tensor = model.text_projection(model.text_model(**given).pooler_output)
        return found

    def measure(texts: list[str]) -> list[int]:
        return [len(tokenizer(text)["input_ids"]) for text in texts]

    fit, zoom = frame_of(settings)
    levels = settings["image_mean"], settings["image_std"]
    limit = model.config.text_config.max_position_embeddings
    scale = float(model.logit_scale.detach().exp())
    return ClipModel(model, see, read, measure, limit, scale, 0.0, Processor((size, size), fit, zoom), levels)


def frame_of(settings: Mapping[str, Any]) -> tuple[str, float]:
    """Return how Hugging Face's preprocessing brings images to size: with a crop, the shorter side may be larger.

    Raises:
        ValueError: Images are stretched to more than what is cut out, which no processor here does.
    """
    size, cut = settings.get("size"), settings.get("crop_size")
    if not settings.get("do_center_crop"):
        return "stretch", 1.0
    if isinstance(size, Mapping) and "height" in size:  # a rectangle, of which a crop of its size cuts nothing
        if cut != size:
            raise ValueError(f"images are stretched to {size}, of which {cut} is cut out")
        return "stretch", 1.0
    shorter = size.get("shortest_edge") if isinstance(size, Mapping) else size
    cut = cut.get("height") if isinstance(cut, Mapping) else cut
    return "crop", float(shorter) / float(cut) if shorter and cut else 1.0


def _open_clip(folder: Path, content: dict[str, Any]) -> ClipModel:
    library = import_module("open_clip")
    config = content["model_cfg"]
    name = f"local-dir:{folder.resolve()}"
    model = library.create_model_and_transforms(name, weights_only=True)[0].eval()
    tokenizer = library.get_tokenizer(name)
    size = config["vision_cfg"].get("image_size", 224)
    rows, columns = (size, size) if isinstance(size, int) else size
    settings, visual = content.get("preprocess_cfg", {}), model.visual
    limit = config["text_cfg"].get("context_length", 77)

    def see(image: Tensor) -> tuple[Tensor, Tensor | None]:
        if not hasattr(visual, "forward_intermediates") or getattr(visual, "proj", None) is None:
            return model.encode_image(image), None
        found = visual.forward_intermediates(image, indices=1, normalize_intermediates=True, output_fmt="NLC")
        return found["image_features"], found["image_intermediates"][-1] @ visual.proj

    def read(texts: list[str]) -> Tensor:
        found: Tensor = model.encode_text(tokenizer(texts).to(next(model.parameters()).device))
        return found

    def measure(texts: list[str]) -> list[int]:
        if hasattr(tokenizer, "encode"):
            return [len(tokenizer.encode(text)) + 2 for text in texts]
        inner = getattr(tokenizer, "tokenizer", None)  # one of Hugging Face, as BiomedCLIP's
        return [0 if inner is None else len(inner(text)["input_ids"]) for text in texts]

    mode = settings.get("resize_mode") or "shortest"
    fit = {"squash": "stretch", "longest": "pad", "shortest": "crop"}[mode]
    levels = (
        settings.get("mean", library.OPENAI_DATASET_MEAN), settings.get("std", library.OPENAI_DATASET_STD),
    )  # fmt: skip
    bias = 0.0 if getattr(model, "logit_bias", None) is None else float(model.logit_bias.detach())
    scale = float(model.logit_scale.detach().exp())
    return ClipModel(model, see, read, measure, limit, scale, bias, Processor((rows, columns), fit), levels)
