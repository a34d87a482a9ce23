"""HFC (Yao 2021): attacked images whose features lie among those of the target class in every layer."""

from medzoo.adversarial.hfc.losses import FeatureConstraint, MeanActivation, OnLogits

__all__ = ["FeatureConstraint", "MeanActivation", "OnLogits"]
