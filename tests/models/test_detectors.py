"""Detectors that give boxes: transformers' with random weights, a stand-in for detectron2, and the cache of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForObjectDetection,
    RTDetrConfig,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    YolosConfig,
    YolosImageProcessorPil,
)

from sambench.errors import UsageError
from sambench.models.detectors import detectors
from sambench.models.detectors.detected import Detected, LocatedDetector
from sambench.models.detectors.detectors import Detector, locate, numbers_of
from sambench.runs.directory import read_records

Call = Callable[..., subprocess.CompletedProcess[str]]
NAMES = {0: "leaf", 1: "baseball bat", 2: "unicorn"}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def yolos(folder: Path, labels: Mapping[int, str] = NAMES, seed: int = 0) -> Path:
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 48],
        patch_size=16,
        num_detection_tokens=12,
        id2label=dict(labels),
        initializer_range=0.5,
    )
    processor = YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48})
    return save(folder, config, processor, seed)


def rt_detr(folder: Path) -> Path:
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"]
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_queries=7,
        id2label=NAMES,
    )
    return save(folder, config, RTDetrImageProcessorPil(size={"height": 64, "width": 64}), 0)


def save(folder: Path, config: Any, processor: Any, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- transformers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [yolos, rt_detr])
def test_a_detector_of_transformers_answers_in_pixels_of_the_image(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    found = locate(str(make(tmp_path / "toy_detector")))
    assert (found.name, found.labels, found.numbers) == ("toy_detector", NAMES, None)
    seen = Detector(found, "cpu", 1)(IMAGE, 0.0)
    assert len(seen.scores) > 3
    assert (np.diff(seen.scores) <= 0).all()
    assert set(seen.labels.tolist()) <= set(NAMES)
    assert (seen.boxes[:, 2:] > 0).all()
    # Centres are within 0 and 1 of the image; with sizes of this kind the greatest are far from the smallest.
    centres = seen.boxes[:, :2] + seen.boxes[:, 2:] / 2
    assert (centres >= 0).all()
    assert (centres <= [90, 60]).all()
    assert seen.masks is None
    fewer = Detector(found, "cpu", 1)(IMAGE, float(np.median(seen.scores)))
    assert len(fewer.scores) < len(seen.scores)
    assert np.array_equal(fewer.boxes, seen.boxes[: len(fewer.scores)])


def test_boxes_equal_those_of_the_processor_and_model_by_themselves(tmp_path: Path) -> None:
    folder = yolos(tmp_path / "toy")
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    processor = YolosImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        (expected,) = processor.post_process_object_detection(
            model(**processor(images=[IMAGE], return_tensors="pt")), threshold=0, target_sizes=[(60, 90)]
        )
    seen = Detector(locate(str(folder)), "cpu", torch.get_num_threads())(IMAGE, 0.0)
    order = np.argsort(-expected["scores"].numpy(), kind="stable")
    corners = expected["boxes"].numpy()[order]
    np.testing.assert_allclose(seen.boxes[:, :2] + seen.boxes[:, 2:], corners[:, 2:], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(seen.boxes[:, :2], corners[:, :2], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(seen.scores, expected["scores"].numpy()[order], rtol=1e-5)


def test_the_digest_is_of_weights_configuration_and_preparation(tmp_path: Path) -> None:
    one, two = locate(str(yolos(tmp_path / "one"))), locate(str(yolos(tmp_path / "two")))
    assert one.digest == two.digest
    assert locate(str(yolos(tmp_path / "three", seed=1))).digest != one.digest
    prepared = tmp_path / "two" / "preprocessor_config.json"
    prepared.write_text(prepared.read_text().replace("0.485", "0.5"))
    assert locate(str(tmp_path / "two")).digest != one.digest


def test_what_was_seen_once_is_not_looked_at_again(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = locate(str(yolos(tmp_path / "toy")))
    first = Detector(found, "cpu", 1)(IMAGE, 0.0)
    monkeypatch.setattr(detectors, "_transformers", lambda *_: pytest.fail("loaded again"))
    again = Detector(found, "cpu", 1)(IMAGE, 0.0)
    assert (np.array_equal(again.boxes, first.boxes), np.array_equal(again.labels, first.labels)) == (True, True)
    for detector, image, threshold in (
        (Detector(found, "cpu", 1), IMAGE[:, ::-1], 0.0),
        (Detector(found, "cpu", 1), IMAGE.reshape(90, 60, 3), 0.0),
        (Detector(found, "cpu", 1), IMAGE, 0.1),
        (Detector(found, "cpu", 2), IMAGE, 0.0),
    ):
        with pytest.raises(pytest.fail.Exception, match="loaded again"):
            detector(image, threshold)
    assert len(list(own_cache.rglob("*.npz"))) == 1


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path, own_cache: Path) -> None:
    found = locate(str(yolos(tmp_path / "toy")))
    first = Detector(found, "cpu", 1)(IMAGE, 0.0)
    (entry,) = own_cache.rglob("*.npz")
    entry.write_bytes(entry.read_bytes()[:200])
    assert np.array_equal(Detector(found, "cpu", 1)(IMAGE, 0.0).boxes, first.boxes)


def test_masks_come_back_from_the_cache() -> None:
    masks = [{"size": [2, 2], "counts": "04"}, {"size": [2, 2], "counts": "4"}]
    seen = Detected.from_corners(
        np.array([4, 5]), np.array([0.1, 0.9]), np.array([[0.0, 0, 2, 1], [1, 1, 0, 2]]), masks
    )
    back = Detected.from_arrays(seen.sorted().arrays())
    assert back.labels.tolist() == [5, 4]
    assert back.masks == masks[::-1]
    # The second had its corners the wrong way round: no width.
    assert back.boxes.tolist() == [[1, 1, 0, 1], [0, 0, 2, 1]]


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: change(folder, id2label=None), "names no classes"),
        (lambda folder: change(folder, model_type="bert"), "no object detector of transformers"),
        (lambda folder: change(folder, hidden_size=32), "tensors of the detector are missing or of another size"),
        (lambda folder: change(folder, num_hidden_layers=3), "tensors of the detector are missing"),
        (
            lambda folder: change(folder, "preprocessor_config.json", image_processor_type="RfDetrImageProcessor"),
            "does not work through Pillow",
        ),
    ],
)
def test_folders_that_are_no_detector(tmp_path: Path, break_it: Callable[[Path], None], complaint: str) -> None:
    folder = yolos(tmp_path / "toy")
    break_it(folder)
    with pytest.raises(UsageError, match=complaint) as caught:
        Detector(locate(str(folder)), "cpu", 1)(IMAGE, 0.0)
    assert "\n" not in str(caught.value)


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    held = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        locate(str(tmp_path / "nothing"))
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(UsageError, match="a hub id or a folder"):
        locate(str(tmp_path / "weights.pth"))


# --- classes ----------------------------------------------------------------------------------------------------------


def located(labels: Mapping[int, str], numbers: Mapping[int, int] | None = None) -> LocatedDetector:
    return LocatedDetector("toy", "0" * 64, labels, numbers, lambda device: pytest.fail("loaded"))


def test_classes_are_told_by_name() -> None:
    categories = {7: "leaf", 3: "baseball_bat", 9: "Traffic-Light", 12: "traffic light"}
    names = {0: "N/A", 1: "leaf", 2: "Baseball Bat", 5: "traffic light", 6: "traffic_light"}
    # An exact name comes first; of several near ones the first category.
    assert numbers_of(located(names), categories, "toys") == {1: 7, 2: 3, 5: 12, 6: 9}
    assert numbers_of(located({0: "x", 1: "y"}, {0: 3, 1: 4}), categories, "toys") == {0: 3}
    with pytest.raises(UsageError, match="knows none of the classes of toys: it has cat"):
        numbers_of(located({0: "cat"}), categories, "toys")


# --- detectron2 -------------------------------------------------------------------------------------------------------


class Instances:
    """As detectron2's: fields that are indexed together."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.fields[name]

    def has(self, name: str) -> bool:
        return name in self.fields

    def to(self, device: str) -> Instances:
        return self

    def __getitem__(self, which: Any) -> Instances:
        boxes = {"pred_boxes": SimpleNamespace(tensor=self.pred_boxes.tensor[which])}
        return Instances(**{k: v[which] for k, v in self.fields.items() if k != "pred_boxes"}, **boxes)


class Model(torch.nn.Module):
    """Boxes that depend on the pixels it is given: the blue one first, as a configuration may ask for."""

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        (given,) = inputs
        masks = torch.zeros((2, given["height"], given["width"]), dtype=torch.bool)
        masks[1, 2:4, 3:5] = True
        return [
            {
                "instances": Instances(
                    pred_boxes=SimpleNamespace(
                        tensor=torch.tensor([[0.0, 0, 5, float(given["image"][0, 0, 0])], [3, 2, 5, 4]])
                    ),
                    scores=torch.tensor([0.3, 0.6]),
                    pred_classes=torch.tensor([1, 0]),
                    pred_masks=masks,
                )
            }
        ]


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for the few names that are used of it. The metadata can be changed."""
    metadata = {"coco_2017_val": SimpleNamespace(thing_classes=["cat", "dog"])}
    settings = SimpleNamespace(
        model=Model(),
        dataloader=SimpleNamespace(
            test=SimpleNamespace(
                dataset=SimpleNamespace(names="coco_2017_val"),
                mapper=SimpleNamespace(image_format="BGR", augmentations=lambda given: None),
            )
        ),
    )
    modules = {
        "detectron2": {},
        "detectron2.config": {
            "LazyConfig": SimpleNamespace(load=lambda path: settings),
            "instantiate": lambda part: part,
        },
        "detectron2.data": {"MetadataCatalog": metadata},
        "detectron2.data.transforms": {"AugInput": lambda image: SimpleNamespace(image=image)},
        "detectron2.checkpoint": {"DetectionCheckpointer": lambda model: SimpleNamespace(load=lambda path: None)},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return metadata


def files(folder: Path) -> str:
    (folder / "vitdet.py").write_text("model = 1")
    (folder / "weights.pkl").write_bytes(b"weights")
    return f"detectron2:{folder / 'vitdet.py'},{folder / 'weights.pkl'}"


def test_a_detector_of_detectron2(tmp_path: Path, detectron2: dict[str, Any]) -> None:
    found = locate(files(tmp_path))
    assert (found.name, found.labels) == ("detectron2 vitdet", {0: "cat", 1: "dog"})
    # LVIS has no table: its numbers follow the order, from 1.
    assert found.numbers == {0: 1, 1: 2}
    seen = Detector(found, "cpu", 1)(IMAGE, 0.1)
    assert seen.labels.tolist() == [0, 1]
    assert seen.scores == pytest.approx([0.6, 0.3])
    # Blue comes first in BGR.
    assert seen.boxes.tolist() == [[3, 2, 2, 2], [0, 0, 5, float(IMAGE[0, 0, 2])]]
    assert seen.masks is not None
    assert seen.masks[0]["size"] == [60, 90]
    assert len(Detector(found, "cpu", 1)(IMAGE, 0.5).scores) == 1
    detectron2["coco_2017_val"].thing_dataset_id_to_contiguous_id = {17: 0, 18: 1}
    assert locate(files(tmp_path)).numbers == {0: 17, 1: 18}
    (tmp_path / "weights.pkl").write_bytes(b"others")
    assert locate(files(tmp_path).replace("weights", "weights")).digest == found.digest
    (tmp_path / "others.pkl").write_bytes(b"others")
    assert locate(f"detectron2:{tmp_path / 'vitdet.py'},{tmp_path / 'others.pkl'}").digest != found.digest


def test_without_detectron2(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not installed.*pip install.*task\.boxes=FILE") as caught:
        locate(files(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="write it as detectron2:CONFIG,CHECKPOINT"):
        locate("detectron2:vitdet.py")
    with pytest.raises(UsageError, match="no file"):
        locate("detectron2:a.py,b.pkl")


# --- the task ---------------------------------------------------------------------------------------------------------


def test_a_detector_for_region_tree(real_data: Path, sambench_cli: Call, tmp_path: Path, own_cache: Path) -> None:
    """A random detector on two real images, with two workers, then with one: the same records. What is of no class of
    COCO is told."""
    folder = yolos(tmp_path / "toy", {0: "person", 1: "baseball_bat", 2: "unicorn"})
    root = real_data / "coco_subset"
    given = ("run", "-t", "instances", "-d", "coco", "-m", "region_tree", "--data-root", root, "--subset", 2)
    more = ("--set", f"task.detector={folder}", "--set", "task.detector_threshold=0", "--json")

    def table(out: Path) -> list[dict[str, Any]]:
        (manifest,) = out.rglob("manifest.json")
        rows: list[dict[str, Any]] = read_records(manifest.parent).drop_columns(["time_ms"]).to_pylist()
        return rows

    caches = [str(tmp_path / name) for name in ("a", "b")]
    done = sambench_cli(*given, *more, "--out", tmp_path / "two", "--workers", 2, SAMBENCH_CACHE=caches[0])
    (summary,) = json.loads(done.stdout)
    assert summary["complete"]
    assert summary["signature"].startswith("boxes:toy@")
    assert any("unicorn" in warning for warning in summary["warnings"])
    assert summary["metrics"]["box_ap"]["value"] is not None
    sambench_cli(*given, *more, "--out", tmp_path / "one", "--workers", 1, SAMBENCH_CACHE=caches[1])
    assert table(tmp_path / "one") == table(tmp_path / "two")
    assert set(np.concatenate([row["category"] for row in table(tmp_path / "one")])) <= {1, 39}
