"""SCP keeps the contract of selectors."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from medzoo.core.testing import SelectorContract


@pytest.mark.filterwarnings("ignore:scp. resnet18 has random weights")
class TestSCP(SelectorContract):
    name = "scp"
    tiny: ClassVar[dict[str, Any]] = {
        "data": "landmark-phantoms",
        "data.domains": ["head", "chest"],
        "data.n_train": 4,
        "data.n_test": 1,
        "data.image_size": 64,
        "selector.backbone": "resnet18",
        "selector.keypoints": "grid",
        "selector.size": 64,
        "selector.device": "cpu",
    }
