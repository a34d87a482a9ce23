"""A grammar of reports: findings with side and severity, denials, doubt, synonyms, and sentences that say nothing."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from medzoo.vlm.phantoms.findings import FINDINGS, Finding

NAMES: dict[str, tuple[str, ...]] = {
    "pleural effusion": ("pleural effusion", "effusion", "pleural fluid"),
    "cardiomegaly": ("cardiomegaly", "enlargement of the heart", "cardiac enlargement"),
    "consolidation": ("consolidation", "airspace disease", "airspace opacity"),
    "pneumothorax": ("pneumothorax", "pleural air"),
    "atelectasis": ("atelectasis", "volume loss"),
    "lung nodule": ("lung nodule", "pulmonary nodule", "nodule"),
    "pulmonary edema": ("pulmonary edema", "edema", "vascular congestion"),
    "emphysema": ("emphysema", "hyperinflation"),
    "pulmonary fibrosis": ("pulmonary fibrosis", "interstitial scarring"),
    "lung mass": ("lung mass", "pulmonary mass", "mass"),
    "pacemaker": ("pacemaker", "pacing device", "cardiac device"),
    "hiatal hernia": ("hiatal hernia", "hiatus hernia"),
    "calcified granuloma": ("calcified granuloma", "granuloma"),
    "rib fracture": ("rib fracture", "fractured rib"),
}
_WORDS = {
    "mild": ("mild", "small", "slight", "subtle"), "moderate": ("moderate",), "severe": ("severe", "large", "marked"),
}  # fmt: skip
_SEEN = ("There is {}.", "{} is seen.", "{} is present.", "Findings of {}.", "Evidence of {}.", "{} is again noted.")
_DOUBTED = ("Possible {}.", "{} cannot be excluded.", "{} is suspected.", "Questionable {}.")
_DENIED = ("No {}.", "There is no {}.", "No evidence of {}.", "{} is not seen.", "Without {}.")
_STABLE = ("No change in the {}.", "The {} is unchanged.")
_NOTHING = (
    "The patient is rotated.", "Comparison is made with the prior study.", "Portable view of the chest.",
    "The bony structures are intact.", "Low inspiratory volumes.", "Clinical correlation is advised.",
    "The trachea is midline.", "Degenerative changes of the spine.", "No significant interval change.",
)  # fmt: skip


def report_on(findings: Collection[Finding], rng: np.random.Generator, denials: float = 3.0, doubt: float = 0.1) -> str:
    """Return a report in sentences of any order.

    Each finding that is there has a sentence: mostly a plain one, some with doubt, some with «unchanged». Of those that
    are not there a few are denied, alone or by two in a sentence, the frequent ones more often, and now and then one
    is called possible.

    Args:
        findings: What is there.
        rng: Source of the words.
        denials: Mean number of denied findings.
        doubt: Part of the findings that are left open.
    """
    said = [_present(finding, rng, doubt) for finding in findings]
    shares = {n: kind.share for n, kind in FINDINGS.items() if n not in {finding.name for finding in findings}}
    weights = np.array(list(shares.values())) + 0.05
    count = min(len(shares), int(rng.poisson(denials)))
    absent = [str(name) for name in rng.choice(list(shares), count, replace=False, p=weights / weights.sum())]
    while absent:
        name = _one(NAMES[absent.pop()], rng)
        if absent and rng.random() < 0.3:
            said.append(f"No {name} or {_one(NAMES[absent.pop()], rng)}.")
        elif rng.random() < 0.05:
            said.append(_one(_DOUBTED, rng).format(name))
        else:
            said.append(_one(_DENIED, rng).format(name))
    said += [str(text) for text in rng.choice(_NOTHING, int(rng.integers(0, 3)), replace=False)]
    if not said:
        said = [_NOTHING[0]]
    return " ".join(text[0].upper() + text[1:] for text in (said[i] for i in rng.permutation(len(said))))


def _present(finding: Finding, rng: np.random.Generator, doubt: float) -> str:
    parts = [
        _one(_WORDS[finding.severity], rng) if rng.random() < 0.5 else "",
        finding.side if rng.random() < 0.7 else "",
        _one(NAMES[finding.name], rng),
    ]
    name = " ".join(part for part in parts if part)
    if rng.random() < doubt:
        return _one(_DOUBTED, rng).format(name)
    return _one(_STABLE if rng.random() < 0.15 else _SEEN, rng).format(name)


def _one(texts: tuple[str, ...], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]
