"""What a report says of each finding, by rules, and its rewriting into «There is X» and «There is no X»."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from medzoo.core.errors import ConfigError
from medzoo.core.safe_yaml import read_yaml

State = Literal["present", "absent", "uncertain"]
LEXICON = Path(__file__).with_name("findings.yaml")

# Words that speak of a finding's course, or begin with «no» or «not», and deny no finding.
_NO_DENIAL = re.compile(
    r"\b(?:no|without) (?:significant |substantial |definite |interval |relevant |appreciable )*"
    r"change[sd]?\b(?: in| of| from)?"
    r"|\b(?:not|partial(?:ly)?|incomplete(?:ly)?|near(?:ly)?|almost|mostly|largely) (?:\w+ )?"
    r"(?:resolved|cleared|disappeared|resolution of)\b|\bno (?:\w+ )?resolution of\b"
    r"|\bnot (?:significantly |substantially |appreciably )?changed\b|\bnot only\b|\bno longer any doubt of\b"
    r"|\bno (?:significant )?(?:increase|decrease|improvement|progression|worsening)(?: in| of)?\b"
)
_DOUBT = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|(?:un)?likely|suspicious for|suspected|suspicion (?:of|for)|questionable|question of"
    r"|equivocal"
    r"|may (?:represent|reflect|be|indicate)|might|could (?:represent|reflect|be|indicate)|suggest(?:ing|ive of|s)?"
    r"|(?:can ?not|can't|not) (?:be )?(?:entirely |completely )?(?:exclude|excluded|rule out|ruled out)"
    r"|not excluded|rule out|(?:concerning|worrisome) for|versus|differential)\b"
)
_DENIED_BEFORE = re.compile(
    r"\b(?:no|not|without|negative for|free (?:of|from)|absence of|absent|never|neither|nor|denies|clear of"
    r"|resolution of|resolved|removal of|rather than)\b"
)
_SEEN = r"(?:seen|present|identified|evident|visible|visuali[sz]ed|detected|demonstrated|noted|appreciated|apparent)"
_DENIED_AFTER = re.compile(
    rf"\b(?:(?:is|are|was|were) (?:absent|excluded|ruled out)|not (?:\w+ly )?{_SEEN}|no longer {_SEEN}"
    r"|(?:has|have|had) (?:\w+ )?(?:resolved|cleared|disappeared))\b"
)
_CLAUSE = re.compile(
    r"\b(?:but|however|although|though|except(?: for)?|apart from|with the exception of|yet)\b|[;:]"
    r"|(?:,|\band)\s+(?=there (?:is|are|was|were)\b)"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n|(?<=\s)\d+[.)]\s+|^\s*\d+[.)]\s+")
_SIDES = (("both", r"\bbilateral(?:ly)?\b|\bboth\b"), ("left", r"\bleft\b"), ("right", r"\bright\b"))
_SEVERITIES = (
    ("mild", r"\b(?:mild(?:ly)?|small|minimal|minor|slight(?:ly)?|trace|tiny|subtle|discrete)\b"),
    ("moderate", r"\bmoderate(?:ly)?(?:-sized)?\b"),
    ("severe", r"\b(?:severe(?:ly)?|large|marked(?:ly)?|massive(?:ly)?|extensive|gross(?:ly)?)\b"),
)


@dataclass(frozen=True)
class Mention:
    """What one sentence says of one finding.

    Attributes:
        finding: Its name in the lexicon.
        state: Whether it is said to be there, not to be there, or left open.
        side: `left`, `right`, `both`, or empty.
        severity: `mild`, `moderate`, `severe`, or empty.
        sentence: Where it was found.
    """

    finding: str
    state: State
    side: str = ""
    severity: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Words:
    """How reports name a finding.

    Attributes:
        names: Words that name it; the longest is looked for first.
        absent: Phrases that say it is not there without naming it, such as «the heart is normal».
    """

    names: tuple[str, ...]
    absent: tuple[str, ...] = ()


class Rewriter:
    """Reads findings off reports by a lexicon and rules for denial and doubt; the same report gives the same answer.

    Denial reaches from its word («no», «without», …) to the end of the clause, doubt over the whole clause. «No change
    in the effusion» denies nothing.

    Args:
        lexicon: Findings and their words; None for those of chest radiographs that come with the package.
    """

    def __init__(self, lexicon: Mapping[str, Words] | None = None) -> None:
        self.lexicon = dict(lexicon if lexicon is not None else read_lexicon(LEXICON))
        self._finding = {_plain(name): f for f, words in self.lexicon.items() for name in words.names}
        longest_first = sorted(self._finding, key=lambda name: (-len(name), name))
        self._names = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})(?:e?s)?\b")
        self._denials = [
            (re.compile(rf"\b{re.escape(_plain(text))}\b"), f)
            for f, words in self.lexicon.items()
            for text in words.absent
        ]

    def mentions(self, report: str) -> list[Mention]:
        """Return what a report says, in its order; a finding may come several times."""
        return [mention for sentence in sentences(report) for mention in self._of_sentence(sentence)]

    def _of_sentence(self, sentence: str) -> list[Mention]:
        found = []
        for clause in _CLAUSE.split(_plain(sentence)):
            text = _NO_DENIAL.sub(lambda match: " " * len(match[0]), clause)
            doubt = _DOUBT.search(text) is not None
            text = _DOUBT.sub(lambda match: " " * len(match[0]), text)
            side, severity = (_first(pairs, clause) for pairs in (_SIDES, _SEVERITIES))
            for match in self._names.finditer(text):
                denied = _DENIED_BEFORE.search(text[: match.start()]) or _DENIED_AFTER.search(text[match.end() :])
                state: State = "uncertain" if doubt else "absent" if denied else "present"
                found.append(Mention(self._named(match[0]), state, side, severity, sentence))
            found += [
                Mention(finding, "absent", sentence=sentence)
                for pattern, finding in self._denials
                if pattern.search(text) and not any(mention.finding == finding for mention in found)
            ]
        return found

    def _named(self, text: str) -> str:
        """Return the finding of a name, in the plural too."""
        singular = (text, text.removesuffix("s"), text.removesuffix("es"))
        return next(self._finding[name] for name in singular if name in self._finding)

    def states(self, report: str) -> dict[str, State]:
        """Return one state for each finding that a report mentions: present before uncertain before absent."""
        order: tuple[State, ...] = ("present", "uncertain", "absent")
        found: dict[str, State] = {}
        for mention in self.mentions(report):
            old = found.get(mention.finding, "absent")
            found[mention.finding] = min(old, mention.state, key=order.index)
        return found

    def __call__(self, report: str) -> list[str]:
        """Return a report as «There is X» and «There is no X», one for each finding; what is uncertain is left out."""
        said = {"present": "There is {}", "absent": "There is no {}"}
        return [said[state].format(name) for name, state in self.states(report).items() if state in said]


def sentences(report: str) -> list[str]:
    """Return the sentences of a report, without numbers of lists and headings in capitals."""
    text = re.sub(r"\b[A-Z][A-Z /]{3,}:", ". ", report).replace("_", " ")
    parts = (" ".join(part.split()).strip(" .") for part in _SENTENCE.split(text))
    return [part for part in parts if len(re.findall(r"\w+", part)) > 1]


def denied_twin(sentence: str) -> str | None:
    """Return «There is no X» for «There is X» and the other way round; None for sentences of another form."""
    match = re.fullmatch(r"(There is )(no )?(.+)", sentence, re.IGNORECASE)
    return None if match is None else f"{match[1]}{'' if match[2] else 'no '}{match[3]}"


def denies(sentence: str) -> bool:
    """Return whether a sentence of the form «There is X» is a «There is no X»."""
    return re.match(r"There is no ", sentence, re.IGNORECASE) is not None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _first(pairs: Sequence[tuple[str, str]], text: str) -> str:
    """Return the name of the first pattern that a text has."""
    return next((name for name, pattern in pairs if re.search(pattern, text)), "")


def read_lexicon(path: Path) -> dict[str, Words]:
    """Read a lexicon: a YAML file with findings, each with `names` and, where wanted, `absent`.

    Raises:
        ConfigError: The file is missing or has another form.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such lexicon; give a YAML file of findings with their names")
    try:
        content = read_yaml(path.read_text(encoding="utf8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    found = {}
    for finding, words in content.items() if isinstance(content, dict) else ():
        texts = [words.get(key) or [] for key in ("names", "absent")] if isinstance(words, dict) else [[], []]
        if not texts[0] or not all(isinstance(t, str) and t.strip() for part in texts for t in part):
            raise ConfigError(f"{path}: {finding!r} has no list of names; write `names: [word, …]` below it")
        found[str(finding)] = Words(tuple(texts[0]), tuple(texts[1]))
    if not found:
        raise ConfigError(f"{path}: has no finding; write a name, and `names: [word, …]` below it")
    return found
