"""Targeted attacks on several landmarks at once (Yao 2020), with weights that adapt to how hard each landmark is."""

from medzoo.adversarial.ati_fgsm.attack import ati_fgsm
from medzoo.adversarial.ati_fgsm.loss import Head, LandmarkMaps
from medzoo.adversarial.ati_fgsm.maps import discs, peaks

__all__ = ["Head", "LandmarkMaps", "ati_fgsm", "discs", "peaks"]
