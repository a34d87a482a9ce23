"""Built-in chest radiographs with reports."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from medzoo.core.classifier.data.items import PARTS, UNKNOWN, Item, Loaded
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError
from medzoo.vlm.data.module import ReportCases, ReportDataModule, ReportOptions

if TYPE_CHECKING:
    from medzoo.vlm.phantoms.findings import Finding


class ReportPhantoms(ReportDataModule):
    """Drawn chests with up to fourteen findings, each with side and severity, and a report in sentences.

    Reports name findings by synonyms, deny some that are absent, leave some open, and say other things too. Labels,
    for tests only, are what was drawn. Three findings are rare.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        denials: Mean number of denied findings in a report.
        doubt: Part of the findings that a report leaves open.
        diagnoses: Give four labels more that follow from the findings by rules, such as heart failure.
        common: Options of all images with reports.
    """

    def __init__(
        self,
        train: int = 1500,
        val: int = 200,
        test: int = 400,
        pixels: int = 64,
        denials: float = 3.0,
        doubt: float = 0.1,
        diagnoses: bool = False,
        **common: Unpack[ReportOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(train=train, val=val, test=test)
        check_drawn(32, pixels=pixels)
        if not 0 <= denials <= 14:
            raise ConfigError(f"--data.denials: expected 0 to 14, got {denials}")
        if not 0 <= doubt <= 1:
            raise ConfigError(f"--data.doubt: expected 0 to 1, got {doubt}")
        self._counts, self._pixels = {"train": train, "val": val, "test": test}, pixels
        self._denials, self._doubt, self._diagnoses = denials, doubt, diagnoses

    def make_cases(self) -> ReportCases:
        """Draw who has which finding, and write the reports; no image is drawn."""
        from medzoo.vlm.phantoms.findings import DIAGNOSES, FINDINGS, draw_findings
        from medzoo.vlm.phantoms.reports import report_on

        rules = DIAGNOSES if self._diagnoses else {}
        parts: dict[str, tuple[Item, ...]] = {}
        texts: dict[str, str] = {}
        for number, part in enumerate(PARTS):
            items = []
            for index in range(self._counts[part]):
                seed, name = (self.seed, number, index), f"{part}{index:05}"
                rng = np.random.default_rng((*seed, 99))
                findings = draw_findings(rng)
                texts[name] = report_on(findings, rng, self._denials, self._doubt)
                has = {finding.name for finding in findings}
                found = [finding in has for finding in FINDINGS] + [rule(has) for rule in rules.values()]
                label = tuple(map(float, found))
                items.append(Item(name, partial(_drawn, findings, seed, self._pixels), label, name))
            parts[part] = tuple(items)
        return ReportCases("phantoms", (*FINDINGS, *rules), parts, multi_label=True, texts=texts)


def _drawn(findings: tuple[Finding, ...], seed: tuple[int, ...], pixels: int) -> Loaded:
    from medzoo.vlm.phantoms.findings import chest_radiograph

    return chest_radiograph(findings, seed, pixels), UNKNOWN
