"""Object detectors that give the boxes for a promptable model: transformers' by hub id or folder, detectron2's where it
is installed. What a detector answers for an image is kept in the cache.

Importing this module imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sambench.core.mask import Image
from sambench.errors import UsageError
from sambench.models.common import checkpoints, pretrained
from sambench.models.detectors import detectron2_detector
from sambench.models.detectors.detected import Detect, Detected, LocatedDetector
from sambench.readers.index_cache import Arrays, cached

DETECTRON2 = "detectron2:"
"""How a reference begins that names a configuration and a checkpoint of detectron2, separated by a comma."""

_CACHE = "detections-of-images-1"
"""What is kept: another number with every change that can change an entry."""

_PROCESSOR = "preprocessor_config.json"


def locate(reference: str) -> LocatedDetector:
    """Finds a detector and digests its weights without loading it: a hub id or a local folder as transformers saves
    it, or ``detectron2:CONFIG,CHECKPOINT``. Raises UsageError: not found, or no detector."""
    if reference.startswith(DETECTRON2):
        return detectron2_detector.locate(reference.removeprefix(DETECTRON2))
    source = checkpoints.find(reference)
    config = source.config()
    if config is None:
        raise UsageError(f"{reference}: a detector is a hub id or a folder with config.json and weights, not a file")
    processor = source.path / _PROCESSOR
    if source.hub and not processor.is_file():
        processor = _from_hub(source.hub)
    if not processor.is_file():
        raise UsageError(f"{reference}: there is no {_PROCESSOR}, which says how the detector wants its images")
    digest = hashlib.sha256(f"{source.digest()}\0{hashlib.sha256(processor.read_bytes()).hexdigest()}".encode())
    return LocatedDetector(
        source.hub or source.path.resolve().name,
        digest.hexdigest(),
        _labels(config, reference),
        None,
        lambda device: _transformers(source.path, processor.parent, device),
    )


class Detector:
    """A detector at work on a device. ``threads``: that it computes with on a CPU.

    It is loaded when an image comes that the cache does not have.
    """

    def __init__(self, found: LocatedDetector, device: str, threads: int) -> None:
        self.found, self.device, self.threads = found, device, threads
        self._detect: Detect | None = None

    def __call__(self, image: Image, threshold: float) -> Detected:
        """What is in an image, ``(H, W, 3)`` uint8 RGB, with a score above the threshold, best first. Raises UsageError
        if the detector cannot be loaded."""
        # Sums come out a little differently on another device, with other threads, in another version.
        made_by = {
            "detector": self.found.digest,
            "threshold": threshold,
            "device": self.device.partition(":")[0],
            "threads": self.threads,
            "torch": torch.__version__,
            "transformers": version("transformers"),
        }
        key = hashlib.sha256(json.dumps(made_by).encode() + b"\0" + str(image.shape).encode())
        key.update(np.ascontiguousarray(image))
        return Detected.from_arrays(cached(_CACHE, key.hexdigest(), lambda: self._run(image, threshold), many=True))

    @torch.inference_mode()
    def _run(self, image: Image, threshold: float) -> Arrays:
        if self._detect is None:
            if self.device == "cpu":
                torch.set_num_threads(self.threads)
            self._detect = self.found.load(self.device)
        return self._detect(image, threshold).sorted().arrays()


def _transformers(folder: Path, processor_folder: Path, device: str) -> Detect:
    """Loads a detector of transformers. Images go through Pillow whether or not torchvision is there, so that the same
    pixels come to the detector everywhere."""
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    pretrained.quiet()
    try:
        processor = AutoImageProcessor.from_pretrained(processor_folder, backend="pil", local_files_only=True)
    except Exception as error:
        raise UsageError(
            f"{folder}: its image processor does not work through Pillow ({checkpoints.one_line(error)})"
        ) from error
    unfit = "is no object detector of transformers"
    model = pretrained.load(AutoModelForObjectDetection, folder, "detector", unfit, device)
    if not hasattr(processor, "post_process_object_detection"):
        raise UsageError(f"{folder}: {type(processor).__name__} does not say how boxes are read off the detector")

    def detect(image: Image, threshold: float) -> Detected:
        inputs = processor(images=[image], input_data_format="channels_last", return_tensors="pt").to(device)
        (found,) = processor.post_process_object_detection(
            model(**inputs), threshold=threshold, target_sizes=[image.shape[:2]]
        )
        corners: NDArray[np.float64] = found["boxes"].double().cpu().numpy().reshape(-1, 4)
        return Detected.from_corners(found["labels"].cpu().numpy(), found["scores"].double().cpu().numpy(), corners)

    return detect


def _labels(config: Mapping[str, Any], reference: str) -> dict[int, str]:
    names = config.get("id2label")
    try:
        if isinstance(names, dict) and names:
            return {int(number): str(name) for number, name in names.items()}
    except ValueError:
        pass
    raise UsageError(f"{reference}: its config.json names no classes (id2label), so that they cannot be told")


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download

    for cached_only in (True, False):
        try:
            return Path(hf_hub_download(hub_id, _PROCESSOR, local_files_only=cached_only))
        except Exception as error:  # a library's own and its HTTP client's, of many kinds
            if not cached_only:
                raise UsageError(
                    f"cannot get {_PROCESSOR} of {hub_id} from the Hugging Face hub ({checkpoints.one_line(error)}): "
                    f"where it can be reached, run `hf download {hub_id}`"
                ) from error
    raise AssertionError("unreachable: the second try answers or raises")


def same_name(name: str) -> str:
    """A class's name as it is compared: LVIS writes ``baseball_bat``, COCO and most detectors ``baseball bat``."""
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()


def numbers_of(found: LocatedDetector, categories: Mapping[int, str], dataset: str) -> dict[int, int]:
    """The dataset's category number for each of the detector's own class numbers that has one.

    ``categories``: the dataset's names by number. Raises UsageError if there is none at all.
    """
    if found.numbers is not None:
        known = {own: number for own, number in found.numbers.items() if number in categories}
    else:
        exact = {name: number for number, name in reversed(list(categories.items()))}
        near = {same_name(name): number for name, number in exact.items()}
        known = {}
        for own, name in found.labels.items():
            number = exact.get(name, near.get(same_name(name)))
            if number is not None:
                known[own] = number
    if not known:
        theirs, ours = ", ".join(list(found.labels.values())[:3]), ", ".join(list(categories.values())[:3])
        raise UsageError(
            f"detector {found.name} knows none of the classes of {dataset}: it has {theirs}, ...; the dataset has "
            f"{ours}, ..."
        )
    return known
