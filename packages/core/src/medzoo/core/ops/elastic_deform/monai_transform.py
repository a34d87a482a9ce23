"""`RandomElasticDeform` as a MONAI dictionary transform; importing this module imports MONAI."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type

from medzoo.core.ops.elastic_deform.transform import RandomElasticDeform
from medzoo.core.seams import is_drawn


class RandElasticDeformd(RandomizableTransform, MapTransform):
    """Deform the arrays `(C, *S)` of a dictionary together; drops into `monai.transforms.Compose`.

    Randomness comes from MONAI's own state (`set_random_state`, `set_determinism`). Metadata is kept: voxels move,
    the affine of the image does not change. The applied parameters are stored under `deformation`.

    Args:
        keys: Keys to deform.
        order: 0, 1 or `"label"` for each key, or one for all.
        padding: As in `elastic_deform`, for each key, or one for all.
        prob: Probability that a sample is deformed.
        allow_missing_keys: Whether keys may be absent.
        options: Further arguments of `RandomElasticDeform`, such as `grid`, `rms`, `rotation`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        order: int | str | list[int | str] = 1,
        padding: str | float | list[str | float] = "border",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        orders = order if isinstance(order, list) else [order] * len(self.keys)
        paddings = padding if isinstance(padding, list) else [padding] * len(self.keys)
        if not len(orders) == len(paddings) == len(self.keys):
            raise ValueError(f"order and padding must be one value or one for each of the {len(self.keys)} keys")
        sampling = {str(k): (o, p) for k, o, p in zip(self.keys, orders, paddings, strict=True)}
        self.deform = RandomElasticDeform(sampling=sampling, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with its arrays deformed."""
        result = dict(data)
        self.randomize(None)
        seed = int(self.R.randint(0, 2**31 - 1))  # drawn in any case: the state does not depend on the outcome
        if not is_drawn(self):
            return result
        arrays = {
            str(k): torch.as_tensor(data[k]).as_subclass(torch.Tensor).unsqueeze(0) for k in self.key_iterator(result)
        }
        moved = self.deform(arrays, torch.Generator().manual_seed(seed))
        for key in self.key_iterator(data):
            result[key] = convert_to_dst_type(moved[str(key)].squeeze(0), data[key], dtype=moved[str(key)].dtype)[0]
        result["deformation"] = {k: v.squeeze(0) for k, v in moved["deformation"].items()}
        return result
