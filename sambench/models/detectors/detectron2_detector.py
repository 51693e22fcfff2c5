"""Detectors of detectron2 (https://github.com/facebookresearch/detectron2), ViTDet among them, where it is installed.

docs/detectors.md has the configurations and checkpoints of the paper's detector. A configuration is Python code and a
checkpoint may be a pickle: both are run by detectron2, so take them from where you trust them.
"""

from __future__ import annotations

import hashlib
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sambench import masks
from sambench.core.mask import Image, Mask
from sambench.errors import UsageError
from sambench.models.detectors.detected import Detect, Detected, LocatedDetector


def locate(reference: str) -> LocatedDetector:
    """``reference``: ``CONFIG,CHECKPOINT``, the paths of a lazy configuration (.py) and of its weights. Raises
    UsageError: detectron2 is not there, or one of the files."""
    config, comma, checkpoint = reference.partition(",")
    if not comma or not config or not checkpoint:
        raise UsageError(f"task.detector=detectron2:{reference}: write it as detectron2:CONFIG,CHECKPOINT")
    for path in (config, checkpoint):
        if not Path(path).is_file():
            raise UsageError(f"task.detector=detectron2:{reference}: no file {path}")
    settings = _settings(config)
    names = settings.dataloader.test.dataset.names
    metadata = _package("detectron2.data").MetadataCatalog.get(names if isinstance(names, str) else names[0])
    labels = dict(enumerate(metadata.thing_classes))
    contiguous = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    # Where a dataset of detectron2 has no table of its numbers, as LVIS, they follow from the order, from 1.
    numbers = {k: k + 1 for k in labels} if contiguous is None else {k: number for number, k in contiguous.items()}
    digest = hashlib.sha256()
    for path in (config, checkpoint):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return LocatedDetector(
        f"detectron2 {Path(config).stem}", digest.hexdigest(), labels, numbers, partial(_load, config, checkpoint)
    )


def _load(config: str, checkpoint: str, device: str) -> Detect:
    settings = _settings(config)
    instantiate = _package("detectron2.config").instantiate
    model = instantiate(settings.model).to(device).eval()
    _package("detectron2.checkpoint").DetectionCheckpointer(model).load(checkpoint)
    mapper = instantiate(settings.dataloader.test.mapper)
    transforms = _package("detectron2.data.transforms")

    def detect(image: Image, threshold: float) -> Detected:
        prepared = transforms.AugInput(image[:, :, ::-1] if mapper.image_format == "BGR" else image)
        mapper.augmentations(prepared)
        pixels = torch.from_numpy(np.ascontiguousarray(prepared.image.transpose(2, 0, 1)))
        height, width = image.shape[:2]
        (answer,) = model([{"image": pixels, "height": height, "width": width}])
        found = answer["instances"].to("cpu")
        found = found[found.scores > threshold]
        drawn = (
            [masks.to_rle(Mask.from_dense(m)) for m in found.pred_masks.numpy()] if found.has("pred_masks") else None
        )
        return Detected.from_corners(
            found.pred_classes.numpy(),
            found.scores.double().numpy(),
            found.pred_boxes.tensor.double().numpy().reshape(-1, 4),
            drawn,
        )

    return detect


def _settings(config: str) -> Any:
    load = _package("detectron2.config").LazyConfig.load
    try:
        return load(config)
    except Exception as error:  # it is code
        first = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"{config} cannot be loaded by detectron2: {type(error).__name__}: {first}") from error


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            "task.detector=detectron2:... needs the package detectron2, which is not installed "
            "(pip install git+https://github.com/facebookresearch/detectron2); or make the boxes elsewhere and pass "
            "their file with --set task.boxes=FILE, see docs/detectors.md"
        ) from error
