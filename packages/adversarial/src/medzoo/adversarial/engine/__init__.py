"""Attacks on any differentiable model, in the units of its images."""

from medzoo.adversarial.engine.attack import Attack, Attacked, Bounded
from medzoo.adversarial.engine.autopgd import APGD
from medzoo.adversarial.engine.corruptions import CORRUPTIONS, Corruption
from medzoo.adversarial.engine.ensemble import AutoAttack, Ensemble
from medzoo.adversarial.engine.iterative import BIM, DIM, FGSM, MIM, PGD, TIM, CWLinf
from medzoo.adversarial.engine.losses import DLR, CrossEntropy, Loss, Margin, TargetedDLR
from medzoo.adversarial.engine.minimal import CWL2, DDN
from medzoo.adversarial.engine.noise import Noise
from medzoo.adversarial.engine.patch import Patch
from medzoo.adversarial.engine.square import Square
from medzoo.adversarial.engine.task_losses import AnomalyScore, LandmarkDistance, MultiLabelBCE
from medzoo.adversarial.engine.universal import Universal
from medzoo.adversarial.engine.victim import MethodVictim, Victim, bpda

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "mim": MIM,
    "dim": DIM,
    "tim": TIM,
    "cw-l2": CWL2,
    "cw-linf": CWLinf,
    "ddn": DDN,
    "apgd": APGD,
    "square": Square,
}
"""The attacks on single images by name; `Universal` and `Patch` learn one thing for many images."""

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "CORRUPTIONS",
    "CWL2",
    "DDN",
    "DIM",
    "DLR",
    "FGSM",
    "MIM",
    "PGD",
    "TIM",
    "AnomalyScore",
    "Attack",
    "Attacked",
    "AutoAttack",
    "Bounded",
    "CWLinf",
    "Corruption",
    "CrossEntropy",
    "Ensemble",
    "LandmarkDistance",
    "Loss",
    "Margin",
    "MethodVictim",
    "MultiLabelBCE",
    "Noise",
    "Patch",
    "Square",
    "TargetedDLR",
    "Universal",
    "Victim",
    "bpda",
]
