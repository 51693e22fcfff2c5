"""Peak memory of a model on one image: the `memory` of its card.

    python benchmarks/memory.py MODEL [--set model.KEY=VALUE] [--side 1024] [--clicks 3] [--prompts 1] [--device cpu]

MODEL is what ``sambench run --model`` takes; weights may be random, memory does not depend on their values. In this one
process the model is loaded, a square image of noise is encoded, and one object is clicked on, the previous mask given
back where the model takes it; with ``--prompts N`` that is N objects at once. On a CPU the figure is the peak of what
the process held, less what it held before the model was loaded (libraries included); on a GPU what torch allocated at
its peak. Linux.
"""

from __future__ import annotations

import argparse
import resource

import numpy as np

from sambench.models import zoo
from sambench.planning.settings import SET_OWNERS
from sambench.plugins import options
from sambench.types import Prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    import torch

    values = options.parse_assignments(arguments.assignments, SET_OWNERS)["model"]
    image = np.random.default_rng(0).integers(0, 256, (arguments.side, arguments.side, 3), np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    located = zoo.locate(arguments.model, values)
    model = located.load(arguments.device, 1)
    (view,) = model.encode([image])
    points: list[tuple[int, int]] = []
    previous = None
    for n in range(arguments.clicks):
        points.append((arguments.side // 2 + 40 * n, arguments.side // 2))
        labels = [[int(k != 1) for k in range(n + 1)]]
        prompts = Prompts(
            np.repeat(np.array([points], np.float32), arguments.prompts, 0),
            np.repeat(np.array(labels), arguments.prompts, 0),
            mask_logits=previous,
        )
        prediction = view.predict(prompts, multimask="multimask" in model.capabilities and n == 0)
        first = [(k, 0) for k in range(arguments.prompts)]
        prediction.masks(first)
        previous = prediction.feedback(first) if "masks" in model.capabilities else None
    if arguments.device == "cpu":
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    else:
        peak = torch.cuda.max_memory_allocated()
    print(f"{model.name}: {peak / 1e9:.1f} GB, {arguments.device}, {arguments.side} x {arguments.side} pixels")


if __name__ == "__main__":
    main()
