"""Masks predicted elsewhere: a real model's stored outputs, and files that cannot be used."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from sambench.errors import UsageError
from sambench.readers.predictions.masks import read_predictions

Call = Callable[..., subprocess.CompletedProcess[str]]

KNOWN = {"Trained": 0.3442, "Distilled": 0.3759, "Quantized": 0.3756}
"""Mean IoU in the crop of 256 masks, as the README beside the data gives it."""


def crops(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The ground truth as the model saw it: each annotation as an image of its own, the 96x96 crop round its prompt,
    resized with nearest neighbour where the image border cut it; in COCO form. And the rows of the mapping."""
    truth = COCO(str(folder / "instances_val2017_subset.json"))
    with (folder / "mapping.tsv").open() as file:
        mapping = list(csv.DictReader(file, delimiter="\t"))
    images, annotations = [], []
    for row in mapping:
        left, top, right, bottom = (int(row[f"crop_{side}"]) for side in ("left", "top", "right", "bottom"))
        crop = truth.annToMask(truth.anns[int(row["ann_id"])])[top:bottom, left:right]
        crop = np.asarray(Image.fromarray(crop).resize((96, 96), Image.Resampling.NEAREST))
        code = coco.encode(np.asfortranarray(crop))
        segmentation = {"size": code["size"], "counts": code["counts"].decode()}
        number = int(row["ann_id"])
        images.append({"id": number, "file_name": f"{number}.png", "height": 96, "width": 96})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": int(row["category_id"]),
                "iscrowd": 0,
                "segmentation": segmentation,
                "area": int(crop.sum()),
                "bbox": [0, 0, 96, 96],
            }
        )
    return {"images": images, "annotations": annotations, "categories": truth.dataset["categories"]}, mapping


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_models_stored_masks_meet_their_known_numbers(
    real_data: Path, sambench_cli: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real_data / "picosam2_predictions"
    truth, mapping = crops(folder)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for variant, known in KNOWN.items():
        predicted = {p["id"]: p for p in json.loads((folder / f"PicoSAM2_{variant}_pred.json").read_text())}
        entries = [
            {
                "image_id": int(row["ann_id"]),
                "annotation_id": int(row["ann_id"]),
                "segmentation": predicted[int(row["pred_id"])]["segmentation"],
                "score": predicted[int(row["pred_id"])]["score"],
            }
            for row in mapping
        ]
        (tmp_path / f"{variant}.json").write_text(json.dumps(entries))
        done = sambench_cli(
            "score",
            "-t",
            "single_point",
            "-d",
            f"coco_json:{tmp_path / 'truth.json'},",
            "--out",
            tmp_path / "runs",
            "--predictions",
            tmp_path / f"{variant}.json",
            "--json",
        )
        summary = json.loads(done.stdout)
        assert summary["complete"]
        assert summary["n_masks"] == 256
        assert summary["model"] == variant
        assert summary["zero_shot"] == "unknown"
        assert summary["metrics"]["miou"]["value"] == pytest.approx(known, abs=5e-5)
        assert set(summary["metrics"]) == {"miou", "oracle_miou"}
        column = f"iou_{variant.lower()}"
        expected = {r["ann_id"]: float(r[column]) for r in mapping}
        assert summary["metrics"]["miou"]["value"] == pytest.approx(np.mean(list(expected.values())), abs=1e-6)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """One 4x4 image with two annotations: its left half (1) and its top row (2)."""
    annotations = [
        {
            "id": 1,
            "image_id": 9,
            "category_id": 3,
            "iscrowd": 0,
            "area": 8,
            "bbox": [0, 0, 2, 4],
            "segmentation": {"size": [4, 4], "counts": [0, 8, 8]},
        },
        {
            "id": 2,
            "image_id": 9,
            "category_id": 3,
            "iscrowd": 0,
            "area": 4,
            "bbox": [0, 0, 4, 1],
            "segmentation": {"size": [4, 4], "counts": [0, 1, 3, 1, 3, 1, 3, 1, 3]},
        },
    ]
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {
                "images": [{"id": 9, "file_name": "x.png", "height": 4, "width": 4}],
                "annotations": annotations,
                "categories": [{"id": 3, "name": "thing"}],
            }
        )
    )
    return tmp_path


def entry(annotation: int, counts: list[int], **more: Any) -> dict[str, Any]:
    return {"image_id": 9, "annotation_id": annotation, "segmentation": {"size": [4, 4], "counts": counts}, **more}


def score(call: Call, folder: Path, entries: Any, code: int = 0) -> subprocess.CompletedProcess[str]:
    text = entries if isinstance(entries, str) else json.dumps(entries)
    (folder / "predictions.json").write_text(text)
    return call(
        "score",
        "-t",
        "single_point",
        "-d",
        f"coco_json:{folder / 'truth.json'},",
        "--out",
        folder / "runs",
        "--json",
        "--predictions",
        folder / "predictions.json",
        code=code,
    )


def test_the_highest_score_is_chosen_and_the_best_is_the_oracle(tiny: Path, sambench_cli: Call) -> None:
    # Annotation 1 (8 pixels): a quarter of it scores .9, all of it .3. Annotation 2 (4 pixels): the whole image.
    entries = [entry(1, [0, 4, 12], score=0.9), entry(1, [0, 8, 8], score=0.3), entry(2, [0, 16])]
    summary = json.loads(score(sambench_cli, tiny, entries).stdout)
    assert summary["metrics"]["miou"]["value"] == (4 / 8 + 4 / 16) / 2
    assert summary["metrics"]["oracle_miou"]["value"] == (1 + 4 / 16) / 2


def test_a_missing_answer_makes_the_run_incomplete(tiny: Path, sambench_cli: Call) -> None:
    done = score(sambench_cli, tiny, [entry(1, [0, 8, 8])], code=1)
    assert "1 of 1 images could not be evaluated" in done.stderr
    (errors,) = (tiny / "runs").glob("**/errors.jsonl")
    assert "no predicted mask for annotation 2 of image 9" in errors.read_text()


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ("{", "are not JSON"),
        ({"a": 1}, "expected a list"),
        ([{"image_id": 9, "segmentation": {}}], "entry 0: 'annotation_id' is missing"),
        (["x"], "entry 0"),
        ([entry(1, [16]) | {"score": "high"}], "entry 0: could not convert"),
        ([entry(1, [16]) | {"segmentation": [[0, 0, 1, 1]]}], "entry 0: segmentation must be a run-length code"),
        ([entry(1, [16]), entry(1, [16])], "entry 1: annotation 1 of image 9 has several masks; each needs a score"),
        ([entry(1, [16]) | {"image_id": 10}], "1 of 1 images are not in dataset"),
    ],
)
def test_unusable_files_are_refused(tiny: Path, sambench_here: Call, entries: Any, complaint: str) -> None:
    assert complaint in score(sambench_here, tiny, entries, code=2).stderr


def test_a_malformed_mask_fails_its_image(tiny: Path, sambench_cli: Call) -> None:
    score(sambench_cli, tiny, [entry(1, [0, 8, 9]), entry(2, [16])], code=1)
    (errors,) = (tiny / "runs").glob("**/errors.jsonl")
    assert "annotation 1 of image 9: run lengths add up to 17" in errors.read_text()


def test_a_missing_file() -> None:
    with pytest.raises(UsageError, match="cannot read predictions"):
        read_predictions(Path("nowhere.json"))
