"""`medzoo report`: a page that is whole, says what the run says, names nobody where asked, and needs nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.io import write_csv, write_image, write_json
from medzoo.core.report.gather import error_of
from medzoo.core.report.pictures import chosen

VOID = {"meta", "img", "image", "circle", "polyline", "br"}
EVIL = "<script>alert(1)</script>"


class Checked(HTMLParser):
    """Follows a page: open tags, addresses, pictures without words for them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.wordless: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(named[key]) for key in ("src", "href", "action", "data") if key in named]
        if (tag == "img" and not named.get("alt")) or (tag == "svg" and not named.get("aria-label")):
            self.wordless.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(path: str) -> tuple[str, Checked]:
    text = Path(path).read_text(encoding="utf-8")
    page = Checked()
    page.feed(text)
    assert not page.open
    assert not page.wordless
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "form"} & set(page.tags)
    return text, page


def run_folder(name: str, cases: int = 12, side: int = 40, value: float = 3.25) -> None:
    rng = np.random.default_rng(0)
    metrics = {"hand/mre_mm": value, "hand/mre_mm_low": value - 1, "hand/mre_mm_high": value + 1, "hand/sdr_2": None}
    write_json(f"{name}/results.json", {"model": "heatmap", "data": "landmark-folder", "seed": 3, "metrics": metrics})
    command = ["medzoo", "fit", "--data.root", "/home/somebody/films"]
    write_json(f"{name}/environment.json", {"command": command, "git_commit": "abc123", "versions": {"torch": "2"}})
    write_csv(f"{name}/metrics.csv", [{"epoch": e, "train/loss": 2.0 / (e + 1)} for e in range(5)])
    rows = []
    for k in range(cases):
        path = f"{name}-films/patient{k}.png"
        write_image(path, rng.random((side, side + 10)))
        points = json.dumps([[k, 5.0], [float("nan"), 1.0]])
        row = {"id": f"patient{k}", "source": "hand", "path": path, "error": k / 2, "unit": "mm", "prediction": points}
        rows.append(row)
    rows[0]["id"] = EVIL
    write_csv(f"{name}/samples.csv", rows)
    write_image(f"{name}/figures/hand_overlay.png", rng.random((30, 30)))
    write_image(f"{name}/figures/errors_mm.png", rng.random((30, 30)))


def test_a_page_has_the_figures_curves_cases_and_pictures_of_a_run_and_is_whole(workdir: Path) -> None:
    run_folder("run")
    assert main(["report", "run", "-o", "page.html"]) == 0
    text, page = checked("page.html")
    assert "<th scope=row>hand/mre_mm</th><td>3.25</td><td>2.25 to 4.25</td>" in text
    assert "heatmap on landmark-folder" in text
    assert "abc123" in text
    assert "/home/somebody/films" in text
    assert "train/loss: 2 in epoch 0, 0.4 in epoch 4" in text
    assert "For research, not for diagnosis." in text
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert text.count('class="case"') == 9  # three best, three median, three worst
    assert "worst · patient11 · error 5.5 mm" in text
    assert text.count('<circle cx="11.50" cy="5.50"') == 1  # pixel centres of the film's own size; NaN is not drawn
    assert 'viewBox="0 0 50 40"' in text
    assert page.tags.count("img") == 2


def test_a_page_fits_a_phone_and_can_be_read_by_keyboard_and_ear(workdir: Path) -> None:
    run_folder("run", cases=4)
    assert main(["report", "run", "-o", "page.html"]) == 0
    text = Path("page.html").read_text(encoding="utf8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    rules = dict(re.findall(r"([^{}]+?)\s*\{([^}]*)\}", style[1]))
    for rule in (found for found in rules.values() if re.search(r"(?<![-\w])width:", found)):
        assert "max-width: 100%" in rule, rule  # nothing is wider than the screen
    assert all(int(size) >= 12 for size in re.findall(r"font(?:-size)?:\s*(\d+)px", style[1]))
    assert text.count("<table") == text.count('class="wide" role="region" tabindex="0" aria-label=')
    pictures = re.findall(r"<(?:img|svg)\b[^>]*>", text)
    assert pictures
    assert all(re.search(r'(?:alt|aria-label)="[^"]+"', picture) for picture in pictures)
    mark = re.search(r"\.case circle \{[^}]*stroke: (#\w{6})[^}]*drop-shadow\(0 0 1px (#\w{3,6})\)", style[1])
    assert mark
    # A ring of two colours of which one stands out from any grey by 3 : 1 at least (WCAG 2.2, 1.4.11).
    light, dark = (luminance(mark[1]), luminance(mark[2]))
    greys = [luminance(f"#{level:02x}{level:02x}{level:02x}") for level in range(256)]
    assert min(max(contrast(light, grey), contrast(dark, grey)) for grey in greys) >= 3


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_an_anonymous_page_names_no_case_path_or_command_and_shows_no_single_case(workdir: Path) -> None:
    run_folder("run")
    assert main(["report", "run", "-o", "page.html", "--anonymous"]) == 0
    text, page = checked("page.html")
    for word in ("patient", "somebody", "films", "run/", "script"):
        assert word not in text, word
    assert "hand/mre_mm" in text
    assert "12 cases were tested" in text
    assert page.tags.count("img") == 1
    assert 'alt="errors mm"' in text
    assert 'class="case"' not in text


def test_several_runs_stand_side_by_side(workdir: Path) -> None:
    run_folder("one")
    run_folder("two", value=2.5)
    assert main(["report", "one", "two", "-o", "page.html"]) == 0
    text, _ = checked("page.html")
    assert "<th scope=row>hand/mre_mm</th><td>3.25</td><td>2.5</td>" in text
    assert "2. heatmap on landmark-folder" in text


def test_many_large_images_leave_a_page_of_at_most_five_megabytes(workdir: Path) -> None:
    run_folder("run", cases=200, side=500)
    for k in range(12):
        noise = np.random.default_rng(k).integers(0, 256, (1400, 1400), dtype=np.uint8)
        Image.fromarray(noise).save(f"run/figures/category{k}.png")
    assert main(["report", "run", "-o", "page.html"]) == 0
    text, _ = checked("page.html")
    assert len(text.encode()) < 5 * 2**20
    found = re.search(r"(\d+) pictures are left out", text)
    assert found
    assert int(found[1]) > 0


def test_best_median_and_worst_are_those_by_error_and_what_is_not_found_is_the_worst(workdir: Path) -> None:
    samples = [{"id": str(k), "error": text} for k, text in enumerate(["3", "inf", "1", "", "2", "5", "4"])]
    picked = [(word, sample["id"]) for word, sample in chosen(samples, 1)]
    assert picked == [("best", "2"), ("median", "0"), ("worst", "1")]
    assert np.isnan(error_of({"error": ""}))


def test_it_reports_a_run_of_medzoo_itself_without_torch(workdir: Path) -> None:
    options = "--model classifier --data.train 12 --data.val 6 --data.test 6 --model.size 32 --model.epochs 1"
    assert main(["fit", *options.split(), "--run_dir", "run", "--quiet"]) == 0
    code = (
        "import sys; from medzoo.core.cli import main; assert main(['report', 'run']) == 0; "
        "assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    text, page = checked("report.html")
    assert "phantoms/auroc" in text
    assert "phantoms confusion" in text
    assert page.tags.count("img") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: does not exist"),
        (["empty"], "empty: has no results.json"),
        (["run", "-o", "page.pdf"], "-o page.pdf: expected a name that ends in .html"),
        (["run", "--anonymus"], "did you mean --anonymous?"),
        (["broken"], "broken/samples.csv: is not a table that a run writes"),
    ],
)
def test_a_mistake_costs_one_line(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder("run", cases=1)
    run_folder("broken", cases=1)
    Path("broken/samples.csv").write_text("id,error\na\n")
    Path("empty").mkdir()
    assert main(["report", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err
    assert not list(workdir.glob("*.html"))
