"""Datasets of Hugging Face's library: every form of mask, from folders made here. Nothing reaches the network."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets as hugging_face
import numpy as np
import pytest
from helpers.tiny_datasets import photo, save, square
from PIL import Image
from pycocotools import mask as coco

from sambench.errors import DataError, UsageError
from sambench.readers import hub
from sambench.suite.datasets.hf import PLUGIN as HuggingFace

SIZE = (20, 30)
POLYGON = [2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]
"""6 x 6 pixels from (2, 3)."""


@pytest.fixture(autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("hf")
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(hugging_face.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Otherwise the library waits between attempts to reach the hub.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def opened(source: str) -> Any:
    built = HuggingFace.Options(source=source)
    root = HuggingFace.locate(Path("data"), "all", built)
    assert root is not None
    return HuggingFace(root, "all", built)


def listed(dataset: Any) -> dict[str, int]:
    return {entry.id: entry.n_masks for entry in dataset.index()}


def instances(dataset: Any, id: str) -> list[tuple[Any, ...]]:
    """(id, class, class number, area, box xyxy) of each."""
    sample = dataset.load(id)
    assert sample.size == SIZE
    assert np.array_equal(sample.image, photo(*SIZE))
    return [(i.id, i.class_name, i.class_id, i.mask.area, i.mask.box) for i in sample.truth.instances]


def picture(values: Any) -> dict[str, Any]:
    """As the library stores it: bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(values)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def label_map() -> np.ndarray:
    """Instance 1 is 4 x 5, instance 300 is 3 x 3, 255 is 2 x 30."""
    values = np.zeros(SIZE, np.uint16)
    values[1:5, 2:7], values[10:13, 20:23], values[18:20] = 1, 300, 255
    return values


def saved(at: Path, columns: dict[str, list[Any]], features: dict[str, Any], **names: str) -> Path:
    """A folder of ``save_to_disk`` with a column of images before the given ones."""
    length = len(next(iter(columns.values())))
    data = hugging_face.Dataset.from_dict(
        {"image": [picture(photo(*SIZE))] * length, **columns},
        features=hugging_face.Features({"image": hugging_face.Image(), **features}),
    )
    data.save_to_disk(str(at))
    return at


def of_label_maps(at: Path) -> Path:
    columns = {"mask": [picture(label_map()), picture(np.zeros(SIZE, np.uint8))], "name": ["b", "a"]}
    return saved(at, columns, {"mask": hugging_face.Image(), "name": hugging_face.Value("string")})


# --- forms of masks --------------------------------------------------------------------------------------------------


def test_label_maps(tmp_path: Path) -> None:
    at = of_label_maps(tmp_path / "maps")
    dataset = opened(str(at))
    assert listed(dataset) == {"0": 3, "1": 0}
    assert instances(dataset, "0") == [
        ("1", None, None, 20, (2, 1, 7, 5)),
        ("255", None, None, 60, (0, 18, 30, 20)),
        ("300", None, None, 9, (20, 10, 23, 13)),
    ]
    with_void = opened(f"{at}?void=255&id=name")
    assert listed(with_void) == {"b": 2, "a": 0}
    assert [i[0] for i in instances(with_void, "b")] == ["1", "300"]
    assert with_void.load("b").truth.void.area == 60


def test_lists_of_binary_masks(tmp_path: Path) -> None:
    masks = [[picture(square(*SIZE, 2, 3, 4)), picture(square(*SIZE, 3, 3, 5))], [], None]
    at = saved(tmp_path / "masks", {"masks": masks}, {"masks": hugging_face.List(hugging_face.Image())})
    dataset = opened(f"{at}?mask=masks")
    assert listed(dataset) == {"0": 2, "1": 0, "2": 0}
    # They overlap, and are kept so.
    assert instances(dataset, "0") == [("0", None, None, 16, (3, 2, 7, 6)), ("1", None, None, 25, (3, 3, 8, 8))]
    assert instances(dataset, "2") == []


def objects_feature(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "bbox": hugging_face.List(hugging_face.Value("float32"), length=4),
        "segmentation": segmentation,
        "category": hugging_face.ClassLabel(names=["cat", "dog"]),
        **more,
    }


POLYGONS = hugging_face.List(hugging_face.List(hugging_face.Value("float64")))
CODE = {"size": hugging_face.List(hugging_face.Value("int64")), "counts": hugging_face.Value("string")}


def an_object(segmentation: Any, category: int = 0, **more: Any) -> dict[str, Any]:
    return {"bbox": [0, 0, 1, 1], "segmentation": segmentation, "category": category, **more}


def test_objects_with_polygons(tmp_path: Path) -> None:
    value = hugging_face.Value
    more = {"id": value("int64"), "area": value("float32"), "iscrowd": value("bool"), "age": value("string")}
    objects = [
        an_object([POLYGON], 1, id=7, area=36.5, iscrowd=False, age="young"),
        an_object([POLYGON, [20.0, 10, 22, 10, 22, 12, 20, 12]], 0, id=9, area=None, iscrowd=True, age=None),
        an_object([[1.0, 1, 2, 2]], 0, id=8, area=1.0, iscrowd=False, age="old"),
    ]
    at = saved(
        tmp_path / "objects", {"mask": [objects, []]}, {"mask": hugging_face.List(objects_feature(POLYGONS, **more))}
    )
    dataset = opened(str(at))
    # Crowd is not counted; the polygon of two points is, and turns out empty.
    assert listed(dataset) == {"0": 2, "1": 0}
    assert instances(dataset, "0") == [("7", "dog", 1, 36, (2, 3, 8, 9)), ("9", "cat", 0, 40, (2, 3, 22, 12))]
    truth = dataset.load("0").truth
    assert dict(truth.dropped) == {"empty_mask": 1}
    first, second = truth.instances
    assert (first.crowd, first.annotated_area, dict(first.attributes)) == (False, 36.5, {"age": "young"})
    assert (second.crowd, second.annotated_area, dict(second.attributes)) == (True, None, {})


@pytest.mark.parametrize("counts", ["string", "binary"])
def test_objects_with_run_lengths_as_columns(tmp_path: Path, counts: str) -> None:
    """A struct of lists, as older versions of the library stored objects; run lengths as text or as bytes."""
    code = coco.encode(np.asfortranarray(square(*SIZE, 4, 6, 5) // 255))
    stored = code["counts"] if counts == "binary" else code["counts"].decode()
    feature = {
        "segmentation": hugging_face.List({**CODE, "counts": hugging_face.Value(counts)}),
        "category_id": hugging_face.List(hugging_face.Value("int64")),
    }
    columns = [{"segmentation": [{"size": [20, 30], "counts": stored}], "category_id": [44]}]
    dataset = opened(str(saved(tmp_path / "codes", {"mask": columns}, {"mask": feature})))
    assert listed(dataset) == {"0": 1}
    assert instances(dataset, "0") == [("0", None, 44, 25, (6, 4, 11, 9))]


def test_objects_with_categories_in_words(tmp_path: Path) -> None:
    feature = hugging_face.List(objects_feature(POLYGONS, category=hugging_face.Value("string")))
    dataset = opened(str(saved(tmp_path / "words", {"mask": [[an_object([POLYGON], "a cat")]]}, {"mask": feature})))
    assert instances(dataset, "0") == [("0", "a cat", None, 36, (2, 3, 8, 9))]


@pytest.mark.parametrize(
    ("feature", "value", "line"),
    [
        (POLYGONS, [[1.0, 2, 3, 4, 5]], "an odd number of coordinates"),
        (POLYGONS, [[1.0, 2, float("nan"), 4, 5, 6]], "a coordinate that is not a number"),
        (POLYGONS, [[1.0, 2, 3000, 4, 5, 6]], "reaches to x = 3000, the image is 30 x 20"),
        (POLYGONS, None, "neither a list of polygons nor a run-length code"),
        (CODE, {"size": [30, 20], "counts": "0"}, r"made for \[height, width\] = \[30, 20\], its image has \[20, 30\]"),
        (CODE, {"size": [20, 30], "counts": "11"}, "run lengths add up to"),
        (CODE, {"size": [20, 30], "counts": None}, "needs 'counts'"),
    ],
)
def test_objects_that_hold_no_mask(tmp_path: Path, feature: Any, value: Any, line: str) -> None:
    at = saved(tmp_path / "bad", {"mask": [[an_object(value)]]}, {"mask": hugging_face.List(objects_feature(feature))})
    dataset = opened(str(at))
    assert listed(dataset) == {"0": 1}
    with pytest.raises(DataError, match="row 0, object 0: .*" + line):
        _ = dataset.load("0").truth


def test_objects_with_one_id_twice_or_a_category_beyond_the_names(tmp_path: Path) -> None:
    number = {"id": hugging_face.Value("int64")}
    twice = [an_object([POLYGON], id=3), an_object([POLYGON], id=3)]
    beyond = [an_object([POLYGON], 5, id=1)]
    feature = objects_feature(POLYGONS, **number)
    dataset = opened(str(saved(tmp_path / "a", {"mask": [twice]}, {"mask": hugging_face.List(feature)})))
    with pytest.raises(DataError, match="row 0, object 1: the id 3 is given twice"):
        _ = dataset.load("0").truth
    # The library refuses such a number where it knows the names, so the column is made from plain numbers.
    at = saved(
        tmp_path / "b",
        {"mask": [beyond]},
        {"mask": hugging_face.List({**feature, "category": hugging_face.Value("int64")})},
    )
    info = json.loads((at / "dataset_info.json").read_text())
    info["features"]["mask"]["feature"]["category"] = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    (at / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="row 0, object 0: category 5, there are 2"):
        _ = opened(str(at)).load("0").truth


# --- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    broken = {"bytes": picture(label_map())["bytes"][:60], "path": None}
    masks = [picture(label_map()), picture(np.ones((20, 29), np.uint8)), broken, None, picture(photo(*SIZE))]
    dataset = opened(str(saved(tmp_path / "p", {"mask": masks}, {"mask": hugging_face.Image()})))
    # What cannot be counted counts as one, so that the run meets it.
    assert listed(dataset) == {"0": 3, "1": 1, "2": 1, "3": 1, "4": 1}
    for id, line in {
        "1": "row 1, mask: the file is 20 x 29 pixels, its image 20 x 30",
        "2": "row 2, mask: damaged or truncated",
        "3": "row 3, mask: there is no picture",
        "4": "row 4, mask: a mask has one channel",
    }.items():
        with pytest.raises(DataError, match=line):
            _ = dataset.load(id).truth
    with pytest.raises(DataError, match="no row 5"):
        dataset.load("5")


def test_images_are_not_turned_against_their_masks(tmp_path: Path) -> None:
    """The library applies an EXIF rotation when it decodes; masks are drawn in the stored pixels."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(*SIZE)).save(file, "PNG", exif=exif)
    data = hugging_face.Dataset.from_dict(
        {"image": [{"bytes": file.getvalue(), "path": None}], "mask": [picture(label_map())]},
        features=hugging_face.Features({"image": hugging_face.Image(), "mask": hugging_face.Image()}),
    )
    assert data[0]["image"].size == (20, 30)  # width, height: the library has turned it
    data.save_to_disk(str(tmp_path / "exif"))
    assert len(instances(opened(str(tmp_path / "exif")), "0")) == 3


# --- where datasets come from ----------------------------------------------------------------------------------------


def parquet(at: Path) -> Path:
    """The rows of :func:`of_label_maps` as a parquet file."""
    data = hugging_face.Dataset.from_dict(
        {"image": [picture(photo(*SIZE))] * 2, "mask": [picture(label_map()), picture(np.zeros(SIZE, np.uint8))]},
        features=hugging_face.Features({"image": hugging_face.Image(), "mask": hugging_face.Image()}),
    ).add_column("name", ["b", "a"])
    at.parent.mkdir(parents=True, exist_ok=True)
    data.to_parquet(str(at))
    return at


def test_a_parquet_file_and_a_folder_of_them(tmp_path: Path) -> None:
    file = parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    for source in (str(file), str(tmp_path), f"{tmp_path}?split=train"):
        dataset = opened(source)
        assert listed(dataset) == {"0": 3, "1": 0}
        assert [i[0] for i in instances(dataset, "0")] == ["1", "255", "300"]
    with pytest.raises(UsageError, match=r"cannot be opened.*nonsense"):
        opened(f"{tmp_path}?split=nonsense").index()


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    """The library's ``imagefolder``: pictures stay files, further columns stand in metadata.jsonl."""
    save(tmp_path / "train" / "a.png", photo(*SIZE))
    save(tmp_path / "train" / "a_mask.png", label_map().astype(np.uint8))
    row = {"file_name": "a.png", "mask_file_name": "a_mask.png"}
    (tmp_path / "train" / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    dataset = opened(f"{tmp_path}?split=train")
    # 300 does not fit 8 bits: 44.
    assert [i[0] for i in instances(dataset, "0")] == ["1", "44", "255"]


def test_a_stream_of_pictures_in_an_archive(tmp_path: Path) -> None:
    """Such rows hold addresses (``zip://a.png::...``), not bytes."""
    row = {"file_name": "a.png", "mask_file_name": "a_mask.png"}
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("a.png", picture(photo(*SIZE))["bytes"])
        archive.writestr("a_mask.png", picture(label_map())["bytes"])
        archive.writestr("metadata.jsonl", json.dumps(row))
    dataset = opened(f"{tmp_path}?split=train&streaming=1&limit=5")
    assert listed(dataset) == {"0": 3}
    assert [i[0] for i in instances(dataset, "0")] == ["1", "255", "300"]


def test_saved_splits(tmp_path: Path) -> None:
    one = hugging_face.load_from_disk(str(of_label_maps(tmp_path / "one")))
    hugging_face.DatasetDict({"train": one, "val": one.select([0])}).save_to_disk(str(tmp_path / "both"))
    assert len(opened(f"{tmp_path / 'both'}?split=val").index()) == 1
    with pytest.raises(UsageError, match=r"has more than one split; add \?split=... with one of: train, val"):
        opened(str(tmp_path / "both")).index()
    with pytest.raises(UsageError, match=r"has no split 'vall'\. Did you mean: val\?"):
        opened(f"{tmp_path / 'both'}?split=vall").index()
    with pytest.raises(UsageError, match="was saved as one split"):
        opened(f"{tmp_path / 'one'}?split=val").index()


@pytest.mark.parametrize("how", ["saved", "parquet"])
def test_limit_and_streaming_take_the_first_rows(tmp_path: Path, how: str) -> None:
    at = of_label_maps(tmp_path / "maps") if how == "saved" else parquet(tmp_path / "pq" / "train.parquet")
    everything = opened(f"{at}?id=name")
    for query in ("limit=1", "limit=1&streaming=1"):
        dataset = opened(f"{at}?id=name&{query}")
        assert listed(dataset) == {"b": 3}
        assert instances(dataset, "b") == instances(everything, "b")
    assert listed(opened(f"{at}?id=name&limit=9")) == listed(everything)


def test_a_percent_sign_hides_what_the_command_line_would_split_at(tmp_path: Path) -> None:
    of_label_maps(tmp_path / "a,b&c")
    assert len(opened(f"{tmp_path}/a%2Cb%26c").index()) == 2


def test_ids_must_be_there_and_different(tmp_path: Path) -> None:
    masks = [picture(label_map())] * 2
    features = {"mask": hugging_face.Image(), "name": hugging_face.Value("string")}
    at = saved(tmp_path / "twice", {"mask": masks, "name": ["x", "x"]}, features)
    with pytest.raises(UsageError, match="rows 0 and 1 have the same id 'x'"):
        opened(f"{at}?id=name").index()
    at = saved(tmp_path / "none", {"mask": masks, "name": ["x", None]}, features)
    with pytest.raises(UsageError, match="row 1 has no id in column 'name', but None"):
        opened(f"{at}?id=name").index()


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("mask=maks", r"has no column 'maks'\. Did you mean: mask\? \(it has: image, mask, name\).*mask=\.\.\."),
        ("image=name", "column 'name' holds no pictures but Value"),
        ("mask=name", r"column 'name' is Value.*; masks are a picture \(each value an instance\), a list"),
        ("id=nam", r"has no column 'nam'\. Did you mean: name\?"),
        ("splt=train", r"unknown option hf\.splt\. Did you mean: split\?"),
        ("void=x", "hf.void=x: must be an integer"),
        ("split", "'split' is not one KEY=VALUE"),
        ("split=a&split=b", "'split=b' is not one KEY=VALUE, or is given twice"),
        ("streaming=1", r"streaming needs a limit, as in &limit=100"),
        ("limit=-1", "limit is a number of rows"),
        ("revision=main", "is on this machine; a revision is of a dataset on the hub"),
    ],
)
def test_queries_that_do_not_fit(tmp_path: Path, query: str, line: str) -> None:
    at = of_label_maps(tmp_path / "maps")
    with pytest.raises(UsageError, match=line):
        opened(f"{at}?{query}").index()


def test_objects_without_segmentation(tmp_path: Path) -> None:
    feature = objects_feature(POLYGONS)
    del feature["segmentation"]
    at = saved(
        tmp_path / "boxes", {"mask": [[{"bbox": [0, 0, 1, 1], "category": 0}]]}, {"mask": hugging_face.List(feature)}
    )
    with pytest.raises(UsageError, match=r"have no 'segmentation'.*boxes alone are no masks"):
        opened(str(at)).index()


@pytest.mark.parametrize("source", ["./nowhere", "no/such/folder", "a b", "?split=train", ""])
def test_neither_a_folder_nor_an_id(source: str) -> None:
    with pytest.raises(UsageError, match=r"no such folder or file, and not an id|write the dataset as hf:OWNER/NAME"):
        opened(source)


def test_a_dataset_of_the_hub_lies_where_the_library_keeps_it() -> None:
    assert hub.parse("owner/name?revision=abc123").query.revision == "abc123"
    dataset = opened("sambench-test-owner/there-is-no-such-dataset?revision=abc123")
    with pytest.raises(UsageError, match=r"cannot be opened \(offline, as HF_HUB_OFFLINE says\)") as refused:
        dataset.index()
    assert "\n" not in str(refused.value)


def test_the_plugin_and_its_card_do_not_import_the_library(tmp_path: Path) -> None:
    code = (
        "import sys; from sambench.suite.datasets.hf import PLUGIN; from pathlib import Path; "
        "PLUGIN(Path('.'), 'all', PLUGIN.Options('owner/name')); assert 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_run_on_the_command_line(
    tmp_path: Path, toy_model: str, sambench_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    at = of_label_maps(tmp_path / "maps")
    sambench_cli(
        *("run", "--task", "single_point", "--model", toy_model, "--out", tmp_path / "runs"),
        *("--dataset", f"hf:{at}?id=name&void=255", "--workers", 1, "--set", "task.clicks=1"),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "home"),
    )
    (summary,) = (tmp_path / "runs").rglob("summary.json")
    content = json.loads(summary.read_text())
    assert (content["dataset"], content["n_scored"], content["n_masks"]) == (f"hf:{at}?id=name&void=255", 1, 2)
    manifest = json.loads((summary.parent / "manifest.json").read_text())
    assert manifest["spec"]["dataset_options"] == {"source": f"{at}?id=name&void=255"}
