"""Own labels in COCO and labelme files: values, gaps, and every fault as one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.landmark.data import LandmarkFolder

Plain = Callable[[str | None], Path]
Point = list[float]


def coco(points: dict[str, list[Point]], names: list[str]) -> dict[str, Any]:
    """Return a COCO file with `[x, y, v]` for each landmark of each image."""
    return {
        "images": [{"id": 10 + i, "file_name": f"folder/{name}.png"} for i, name in enumerate(points)],
        "annotations": [
            {"id": i, "image_id": 10 + i, "category_id": 1, "keypoints": [v for point in given for v in point]}
            for i, given in enumerate(points.values())
        ],
        "categories": [{"id": 1, "name": "head", "keypoints": names}, {"id": 2, "name": "ruler"}],
    }


def labelme(points: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Return a labelme file with points in its own coordinates, and an outline that is no landmark."""
    shapes = [{"label": name, "shape_type": "point", "points": [list(xy)]} for name, xy in points.items()]
    outline = {"label": "skull", "shape_type": "polygon", "points": [[0, 0], [1, 1], [2, 0]]}
    return {"version": "5.0", "shapes": [outline, *shapes], "imageData": "AAAA", "imagePath": "x.png"}


def good() -> dict[str, Any]:
    return coco({"a0": [[1, 2, 2], [3, 4, 1]], "a1": [[5, 6, 2], [0, 0, 0]]}, ["sella", "nasion"])


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def only_fault(root: Path) -> str:
    faults = LandmarkFolder(str(root)).check()
    assert len(faults) == 1, faults
    message = str(faults[0])
    assert "\n" not in message
    assert "; " in message, f"no cure in {message}"
    return message


def test_coco_keypoints_are_taken_as_they_are_and_visibility_0_is_missing(plain: Plain) -> None:
    root = plain(None)
    write(root / "export.json", good())
    data = LandmarkFolder(str(root))
    (source,) = data.sources
    assert data.check() == []
    assert source.domain.landmarks == ("sella", "nasion")
    np.testing.assert_array_equal(source.points("a0", (50, 40)), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(source.points("a1", (50, 40)), [[5, 6], [np.nan, np.nan]])
    assert [source.labelled(name) for name in ("a0", "a1", "a2")] == [True, True, False]
    assert source.label_path("a1").endswith("export.json: annotations[1]")
    with pytest.raises(DataError, match="no point of image a2"):
        source.points("a2", (50, 40))


def test_annotations_of_other_categories_and_images_without_any_are_no_labels(plain: Plain) -> None:
    root, content = plain(None), good()
    content["annotations"].append({"image_id": 10, "category_id": 2, "bbox": [0, 0, 1, 1], "keypoints": []})
    content["images"].append({"id": 99, "file_name": "a5.png"})
    write(root / "export.json", content)
    assert LandmarkFolder(str(root)).check() == []


def change(content: dict[str, Any], *keys: Any, to: Any) -> dict[str, Any]:
    inner: Any = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return content


@pytest.mark.parametrize(
    ("content", "place", "word"),
    [
        ("{", "export.json:1:2", "is no JSON"),
        (change(good(), "images", to={}), "export.json", "images: expected a list"),
        (change(good(), "categories", 0, "keypoints", to=[]), "export.json", "0 categories with names"),
        (change(good(), "categories", 1, "keypoints", to=["b"]), "export.json", "2 categories with names"),
        (change(good(), "categories", 0, "keypoints", to=["a", "a"]), "export.json", "different names"),
        (change(good(), "images", 1, "file_name", to="other/a0.jpg"), "export.json", "two of one name"),
        (change(good(), "images", 1, "file_name", to=""), "export.json", "without a file_name"),
        (change(good(), "annotations", 1, "image_id", to=77), "export.json: annotations[1]", "no image of id 77"),
        (change(good(), "annotations", 1, "image_id", to=10), "export.json: annotations[1]", "second annotation"),
        (change(good(), "annotations", 0, "keypoints", to=[1, 2]), "export.json: annotations[0]", "expected 6"),
        (change(good(), "annotations", 0, "keypoints", 1, to="x"), "export.json: annotations[0]", "'x'"),
        (change(good(), "annotations", 0, "keypoints", 2, to=3), "export.json: annotations[0]", "0, 1 or 2"),
        (change(good(), "annotations", 0, "keypoints", 0, to=99), "export.json: annotations[0]", "outside the 50 × 40"),
        (change(good(), "images", 0, "file_name", to="b0.png"), "export.json: annotations[0]", "there is no image b0"),
    ],
)
def test_faulty_coco_files(plain: Plain, content: Any, place: str, word: str) -> None:
    root = plain(None)
    write(root / "export.json", content)
    message = only_fault(root)
    assert message.startswith(f"{root / place}: "), message
    assert word in message


def test_labelme_points_count_from_the_corner_of_the_first_pixel(plain: Plain) -> None:
    root = plain(None)
    write(root / "a0.json", labelme({"nasion": (1.5, 0.5), "sella": (10, 20)}))
    write(root / "a1.json", labelme({"sella": (7, 8)}))
    write(root / "a2.json", labelme({}))
    write(root / "notes.json", {"made by": "me"})
    data = LandmarkFolder(str(root))
    (source,) = data.sources
    assert data.check() == []
    assert source.domain.landmarks == ("nasion", "sella")
    np.testing.assert_array_equal(source.points("a0", (50, 40)), [[1, 0], [9.5, 19.5]])
    np.testing.assert_array_equal(source.points("a1", (50, 40)), [[np.nan, np.nan], [6.5, 7.5]])
    assert not source.labelled("a2"), "a picture with outlines only is unlabelled"
    assert source.label_path("a1") == str(root / "a1.json")


@pytest.mark.parametrize(
    ("name", "content", "place", "word"),
    [
        ("a0", {"shapes": {}}, "a0.json", "shapes: expected a list"),
        ("a0", {"shapes": [{"shape_type": "point", "points": [[1, 2]]}]}, "a0.json: shapes[0]", "has no label"),
        ("a0", {"shapes": [{"shape_type": "point", "label": "s", "points": [1, 2]}]}, "a0.json: shapes[0]", "[1, 2]"),
        (
            "a0",
            {"shapes": [{"shape_type": "point", "label": "s", "points": [[1, None]]}]},
            "a0.json: shapes[0]",
            "None",
        ),
        ("a0", {"shapes": 2 * labelme({"s": (1, 2)})["shapes"]}, "a0.json: shapes[3]", "second point 's'"),
        ("a0", labelme({"s": (1, 99)}), "a0.json", "outside the 50 × 40"),
        ("b7", labelme({"s": (1, 2)}), "b7.json", "there is no image b7"),
    ],
)
def test_faulty_labelme_files(plain: Plain, name: str, content: Any, place: str, word: str) -> None:
    root = plain(None)
    write(root / "a1.json", labelme({"s": (1, 2)}))
    write(root / f"{name}.json", content)
    message = only_fault(root)
    assert message.startswith(f"{root / place}: "), message
    assert word in message


def test_labels_in_two_forms_are_refused(plain: Plain) -> None:
    root = plain("id,x0,y0\na0,1,1\n")
    write(root / "a0.json", labelme({"s": (1, 2)}))
    assert "holds labels twice, in landmarks.csv and a0.json" in only_fault(root)
    (root / "landmarks.csv").unlink()
    write(root / "export.json", good())
    assert "holds labels twice, in export.json and a0.json" in only_fault(root)


def test_a_single_image_can_be_predicted(plain: Plain) -> None:
    root = plain("id,x0,y0\na0,1,1\n")
    (source,) = LandmarkFolder(str(root / "a3.png"), size=32).sources
    assert (source.predict, source.split.train) == (("a3",), ())
    assert LandmarkFolder(str(root / "a3.png"), size=32).check("predict") == []


def test_without_shots_nothing_needs_a_label(plain: Plain) -> None:
    data = LandmarkFolder(str(plain(None)), shots=0, size=32)
    assert data.check("fit") == []
    assert data.sources[0].split.train == tuple(f"a{i}" for i in range(6))
    assert data.shots() == [[]]
    assert data.test_dataloader() == []
    assert len(data.unlabelled_loader().dataset) == 6  # type: ignore[arg-type]


def test_labels_of_a_picture_of_another_size_are_refused(plain: Plain) -> None:
    root = plain(None)
    content = good()
    content["images"][0] |= {"width": 500, "height": 400}
    content["images"][1] |= {"width": 50, "height": 40}
    write(root / "export.json", content)
    assert "annotations[0]: was made on 500 × 400 pixels, image a0 has 50 × 40" in only_fault(root)
    (root / "export.json").unlink()
    write(root / "a0.json", {**labelme({"sella": (1.5, 2.5)}), "imageWidth": 100, "imageHeight": 80})
    write(root / "a1.json", {**labelme({"sella": (1.5, 2.5)}), "imageWidth": None, "imageHeight": 0})
    assert "was made on 100 × 80 pixels" in only_fault(root)


def test_ids_of_no_simple_kind_are_refused(plain: Plain) -> None:
    root = plain(None)
    content = good()
    content["annotations"][0]["image_id"] = [10]
    write(root / "export.json", content)
    assert "there is no image of id [10]" in only_fault(root)


def test_labelme_files_without_a_point_or_with_two_spellings_are_refused(plain: Plain) -> None:
    root = plain(None)
    write(root / "a0.json", labelme({}))
    assert "has no shape of type point" in only_fault(root)
    write(root / "a0.json", labelme({"sella": (1.5, 2.5)}))
    write(root / "a1.json", labelme({"Sella ": (1.5, 2.5)}))
    assert only_fault(root).startswith(f"{root / 'a0.json'}: has a point 'sella', another file 'Sella '")
