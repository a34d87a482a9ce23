"""ConceptCLIP as a Lightning module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch
from medzoo.vlm.base import check_least
from medzoo.vlm.conceptclip.concepts import ConceptFinder, Span, names_of
from medzoo.vlm.conceptclip.losses import image_text, region_concept
from medzoo.vlm.conceptclip.network import Heads
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.text.encoder import TextFeatures
from medzoo.vlm.text.rewrite import Rewriter


class ConceptCLIP(ImageTextMethod):
    """ConceptCLIP: wholes are aligned by SigLIP's loss, and patches with the concepts that a caption names.

    Args:
        sentences: Sentences of the report that make a caption.
        concept_weight: Weight of the loss of patches and concepts; 0 is the first of the paper's two stages.
        denied_concepts: A concept that a caption denies («no effusion») counts as named, as in the paper; otherwise
            only what it says is there.
        shared_concepts: A concept that another caption of the batch names too is right for its image as well; false, as
            in the paper, makes it wrong.
        alpha: Share of the patches in a score.
        nearest: Patches whose similarity counts in a score, the nearest ones.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        kwargs: Options of all methods of image and text.
    """

    def __init__(
        self,
        sentences: int = 8,
        concept_weight: float = 0.5,
        denied_concepts: bool = True,
        shared_concepts: bool = False,
        alpha: float = 0.5,
        nearest: int = 128,
        lr: float = 3e-4,
        epochs: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(sentences=sentences, lr=lr, epochs=epochs, **kwargs)
        check_least(nearest=(nearest, 1), concept_weight=(concept_weight, 0))
        if not 0 <= alpha <= 1:
            raise ConfigError(f"--model.alpha: expected 0 to 1, got {alpha}")
        self.heads = Heads(self.hparams["width"])
        self._finder: ConceptFinder | None = None
        self._rewriter = Rewriter()

    def setup(self, stage: str) -> None:
        """Build the text encoder, start from the weights that are given, and take the concepts of the lexicon."""
        super().setup(stage)
        assert self.tokenizer is not None
        lexicon = self._rewriter.lexicon.items()
        self._finder = ConceptFinder(names_of((c, words.names) for c, words in lexicon), self.tokenizer.words)

    def similarity(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return `(1 − α)` of the logits of the wholes and `α` of those of the nearest patches, `(images, texts)`."""
        h = self.hparams
        whole = self.heads.whole(image, text)
        if not h["alpha"]:
            return whole
        near = self.heads.similar(image, text)
        top = near.topk(min(int(h["nearest"]), near.shape[2]), dim=2).values.mean(2)
        mixed: Tensor = (1 - h["alpha"]) * whole + h["alpha"] * top
        return mixed

    def attention_maps(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return how similar each patch is to the words of each text, `(images, texts, rows, columns)`."""
        grid: Tensor = self.heads.similar(image, text).unflatten(2, image.grid)
        return grid

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of images, each with its caption."""
        captions = [". ".join(sentences) for sentences in batch["captions"]]
        image, text = self.encode_image(batch["image"]), self.encode_text(captions)
        own = torch.eye(len(captions), dtype=torch.bool, device=self.device)
        whole = image_text(self.heads.whole(image, text), own)
        self.log("train/image_text", whole)
        loss = whole
        if self.hparams["concept_weight"]:
            affirmed = None
            if not self.hparams["denied_concepts"]:
                affirmed = [{name for s in own for name in self._present(s)} for own in batch["captions"]]
            loss = whole + self.hparams["concept_weight"] * self._concepts(captions, affirmed, image, text)
        self.log("train/loss", loss)
        return loss

    def _present(self, sentence: str) -> list[str]:
        """Return the concepts that a sentence says are there."""
        return [name for name, state in self._rewriter.states(sentence).items() if state == "present"]

    def _concepts(
        self, captions: list[str], affirmed: list[set[str]] | None, image: ImageFeatures, text: TextFeatures
    ) -> Tensor:
        """Return the loss of patches with the concepts that the captions name, or of these the affirmed ones."""
        assert self._finder is not None
        seen = text.tokens.shape[1] - 2
        found = [(row, span) for row, caption in enumerate(captions) for span in self._finder(caption, seen)]
        found = [(row, span) for row, span in found if bool(text.mask[row, span.end + 1])]  # not the cut ones
        found = [(row, span) for row, span in found if affirmed is None or span.concept in affirmed[row]]
        heads = self.heads
        scale, bias = heads.log_concept_scale.exp(), heads.concept_bias
        units, right = image.globals.new_zeros(0, text.tokens.shape[2]), torch.zeros(len(captions), 0)
        if found:
            places = torch.tensor([(row, span.start, span.end) for row, span in found], device=self.device)
            units = heads.span_units(text, *places.T)
            right = self._right(len(captions), found)
        loss = region_concept(heads.patch_units(image), units, scale, bias, right.to(self.device, torch.bool))
        self.log("train/region_concept", loss)
        return loss

    def _right(self, count: int, found: list[tuple[int, Span]]) -> Tensor:
        """Return `(captions, concepts)` bool, which concepts belong to which caption."""
        named = [{span.concept for row, span in found if row == index} for index in range(count)]
        if self.hparams["shared_concepts"]:
            return torch.tensor([[span.concept in own for _, span in found] for own in named])
        return torch.tensor([[row == index for row, _ in found] for index in range(count)])
