"""pycocotools' own evaluation, to compare with."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def official_coco(
    content: Mapping[str, Any], results: Sequence[Any], limits: Sequence[int], use_cats: bool, kind: str = "segm"
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dict(content))
        for annotation in truth.dataset["annotations"]:
            annotation.setdefault("iscrowd", 0)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(list(results))), kind)
        evaluator.params.maxDets = list(limits)
        evaluator.params.useCats = int(use_cats)
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator
