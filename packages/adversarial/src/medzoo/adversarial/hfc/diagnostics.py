"""What the theory of hidden features says of a classifier, measured: stress test, trails, fixed directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.detectors import Seen, Watched
from medzoo.adversarial.engine import BIM, Victim
from medzoo.adversarial.engine.frozen import differentiable
from medzoo.adversarial.hfc.losses import MeanActivation, OnLogits
from medzoo.core.errors import ConfigError
from medzoo.core.values import Row


def some_of(labels: Tensor, count: int) -> Tensor:
    """Return places of the first images, `(count,)` at most; where these have one class, of as many of each class.

    The trail needs two classes, and a folder's images may stand class by class.

    Args:
        labels: `(N,)` int64.
        count: Images at most.
    """
    first = torch.arange(min(len(labels), count), device=labels.device)
    kinds = labels.unique()
    if len(kinds) < 2 or len(labels[first].unique()) > 1:
        return first
    each = max(1, count // len(kinds))
    return torch.cat([torch.nonzero(labels == kind)[:each, 0] for kind in kinds.tolist()])


def stress(watched: Watched, victim: Victim, seen: Seen, eps: float, steps: int = 10) -> list[Row]:
    """Return, layer by layer, how far the mean activation can be moved with no label involved, and its trail.

    Mean activations are raised and lowered by BIM with steps of ε/5 (after Yao 2021). The trail is the mean
    displacement of a targeted BIM over the distance between the means of both classes, ‖g(x') − g(x)‖ / ‖μ_t − μ_y‖.

    Args:
        watched: The classifier.
        victim: The same with outputs of `watched.flat`.
        seen: Clean images with labels, of at least two classes.
        eps: Budget in image units.
        steps: Of each attack.
    """
    classes, label = seen.logits.shape[1], seen.labels
    goal = (label + 1) % classes
    plain = BIM(eps=eps, steps=steps, targeted=True, loss=OnLogits(classes))(victim, seen.images, goal)
    moved = watched.look_at(plain.images, label)
    rows: list[Row] = []
    for layer, name in enumerate((*watched.layers, "head input")):
        loss = MeanActivation(watched, layer)
        found = {
            way: watched.look_at(
                BIM(eps=eps, steps=steps, loss=loss, targeted=way == "low")(victim, seen.images, label).images, label
            )
            for way in ("low", "high")
        }
        means = torch.stack([seen.pooled[layer][label == k].mean(dim=0) for k in range(classes)])
        apart = (means[goal] - means[label]).norm(dim=1)
        trail = ((moved.pooled[layer] - seen.pooled[layer]).norm(dim=1) / apart).nanmean()
        rows.append(
            {
                "layer": name,
                "features": seen.pooled[layer].shape[1],
                "clean": float(seen.pooled[layer].mean()),
                "lowest": float(found["low"].pooled[layer].mean()),
                "highest": float(found["high"].pooled[layer].mean()),
                "trail": float(trail),
            }
        )
    return rows


def directions(watched: Watched, seen: Seen, goal: Tensor, eps: float, steps: int = 10) -> dict[str, float]:
    """Return whether an attack pushes the head's input along one direction, which makes it an outlier there.

    For two classes the gradient of the cross-entropy to the head's input is (1 − p_t)(w_y − w_t): one direction for the
    whole attack (Yao 2021).

    Args:
        watched: The classifier.
        seen: Clean images that it gets right.
        goal: `(N,)` target classes.
        eps: Budget in image units.
        steps: Of BIM, each ε/5 long.

    Returns:
        `cosine_min` and `cosine_mean` between the gradients of any two steps of an image, `cosine_to_weights` between
        gradients and w_y − w_t, and `correlation` of the displacement of the head's input with w_t − w_y.

    Raises:
        ConfigError: A class that the head does not have.
    """
    weight = watched.head.weight.detach()
    if len(weight) != seen.logits.shape[1]:
        raise ConfigError(f"victim: its last linear layer has {len(weight)} outputs, its logits {seen.logits.shape[1]}")
    slopes: list[Tensor] = []
    with differentiable(goal.device):
        # Clones: tensors made in inference mode cannot be saved for a backward pass.
        clean, goal = seen.images.clone(), goal.clone()
        x = clean
        for _ in range(steps):
            images = x.detach().requires_grad_()
            now = watched.look(images)
            loss = F.cross_entropy(now.logits, goal, reduction="sum")
            head, slope = torch.autograd.grad(loss, [now.pooled[-1], images])
            slopes.append(F.normalize(head, dim=1, eps=0))
            x = (x - eps / 5 * slope.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
    all_steps = torch.stack(slopes, dim=1)
    kept = all_steps.isfinite().all(dim=2).all(dim=1)
    cosines = all_steps[kept] @ all_steps[kept].transpose(1, 2)
    towards = weight[goal] - weight[seen.labels]
    aligned = (all_steps[kept] * F.normalize(-towards[kept], dim=1)[:, None]).sum(dim=2)
    moved = watched.look_at(x, seen.labels).pooled[-1] - seen.pooled[-1]
    first, second = (part - part.mean(dim=1, keepdim=True) for part in (moved, towards))
    return {
        "cosine_min": float(cosines.amin()) if len(cosines) else float("nan"),
        "cosine_mean": float(cosines.mean()),
        "cosine_to_weights": float(aligned.mean()),
        "correlation": float(F.cosine_similarity(first, second, dim=1).mean()),
    }
