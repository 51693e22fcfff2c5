"""What phrases cost: 1, 10 and 100 of them on one image, for each model that puts SAM and a reader of phrases together.

    python benchmarks/text_to_mask.py --image FILE [--phrases 1,10,100] [--points 8] [--clip large] [--device cpu]
        [--json FILE]

All weights are random. SAM is a ViT-B whose masks are blobs that differ from point to point
(``tests/helpers/sam_generator.py``); CLIP is ViT-L/14@336 (``large``) or ViT-B/32 (``base``); CLIPSeg and OWLv2 have
the sizes of their released ViT-B. Their tokenizer is one of single bytes, so that a phrase has several times as many
tokens as with the real one. SAM encodes the image once for all. Each line is of a fresh reader of phrases: ``phrases``
is all that follows (proposals, crops, the reader's image part, phrases, masks of the first candidates), ``again`` as
many other phrases on the same view; ``passes`` counts the reader's image part. The thresholds of CLIPSeg and OWLv2 are
out of reach, so that each phrase has one click or box: random scores would give many.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from single_point import VIT_B, Stopwatch, machine
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    ViTImageProcessorPil,
)

from sambench.models import zoo
from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator
from sambench.readers.images import read_image
from sambench.types import Prompts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.sam_generator import stable_sam
from helpers.tiny_text_models import clip_tokenizer, save

TOKENIZER, WORDS = clip_tokenizer(77)
ENDS = {"vocab_size": WORDS, "bos_token_id": WORDS - 2, "eos_token_id": WORDS - 1, "pad_token_id": WORDS - 1}


def clip(folder: Path, size: str) -> None:
    """A CLIP in the sizes of ViT-L/14@336 or ViT-B/32."""
    text, vision, side, projection = {
        "large": (
            {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
            336,
            768,
        ),
        "base": ({}, {}, 224, 512),
    }[size]
    config = CLIPConfig(
        text_config={**text, **ENDS, "projection_dim": projection},
        vision_config={**vision, "image_size": side, "projection_dim": projection},
        projection_dim=projection,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    save(folder, CLIPModel, config, 0, images, TOKENIZER)


def clipseg(folder: Path) -> None:
    """A CLIPSeg of ViT-B/16 with 64 channels in its decoder."""
    images = ViTImageProcessorPil(size={"height": 352, "width": 352})
    config = CLIPSegConfig(text_config=ENDS, vision_config={"patch_size": 16}, reduce_dim=64)
    save(folder, CLIPSegForImageSegmentation, config, 0, images, TOKENIZER)


def owlv2(folder: Path) -> None:
    """An OWLv2 of ViT-B/16 at 960 pixels."""
    images = Owlv2ImageProcessorPil()
    vision = {"image_size": 960, "patch_size": 16}
    config = Owlv2Config(text_config={**ENDS, "max_position_embeddings": 16}, vision_config=vision)
    save(folder, Owlv2ForObjectDetection, config, 0, images, TOKENIZER)


def counted(owner: Any, attribute: str, calls: list[str]) -> None:
    """Writes down every call of the owner's method."""
    original: Callable[..., Any] = getattr(owner, attribute)

    def call(*given: Any, **named: Any) -> Any:
        calls.append(attribute)
        return original(*given, **named)

    setattr(owner, attribute, call)


def measure(view: Any, phrases: int, calls: list[str], watch: Stopwatch) -> dict[str, float]:
    """Seconds for one number of phrases, and calls of the image part in all of it."""

    def ask(word: str) -> None:
        answer = view.predict(Prompts(text=[f"{word} {k}" for k in range(phrases)]), multimask=True)
        answer.masks([(n, 0) for n in range(phrases)])

    calls.clear()
    seconds = {name: watch(partial(ask, name)) for name in ("phrases", "again")}
    return {**{f"{name}_s": value for name, value in seconds.items()}, "passes": len(calls)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--phrases", default="1,10,100")
    parser.add_argument("--points", type=int, default=8, help="per side, of the mask generator")
    parser.add_argument("--clip", default="large", choices=["large", "base"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    image = read_image(arguments.image)
    watch = Stopwatch(arguments.device)
    results: dict[str, Any] = {"machine": machine(arguments.device), "size": image.shape[:2]}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        torch.save(stable_sam(**VIT_B).state_dict(), at / "sam.pth")
        clip(at / "clip", arguments.clip)
        clipseg(at / "clipseg")
        owlv2(at / "owlv2")
        generator = {"points_per_side": str(arguments.points), "pred_iou_thresh": "0", "stability_score_thresh": "0"}
        settings: Mapping[str, tuple[dict[str, str], Callable[[Any], tuple[Any, str]]]] = {
            "clip_sam": ({"clip": str(at / "clip"), **generator}, lambda model: (model.generator, "generate")),
            "clipseg_sam": ({"clipseg": str(at / "clipseg"), "threshold": "1"}, lambda model: (model, "activations")),
            "grounded_sam": (
                {"detector": str(at / "owlv2"), "threshold": "1"},
                lambda model: (model.detector, "encode"),
            ),
        }
        sam = zoo.locate(str(at / "sam.pth"), {}).load(arguments.device, 1)
        seen: dict[str, Any] = {}
        results["image_s"] = watch(lambda: seen.update(view=sam.encode([image])[0]))
        print(f"SAM encodes {image.shape[1]} x {image.shape[0]} pixels: {results['image_s']:.2f} s")
        # Compiles.
        MaskGenerator(GeneratorOptions(points_per_side=1)).generate(seen["view"], image.shape[:2], sam.capabilities)
        for name, (options, image_part) in settings.items():
            model: Any = zoo.locate(name, {**options, "sam": str(at / "sam.pth")}).load(arguments.device, 1)
            calls: list[str] = []
            counted(*image_part(model), calls)
            results[name] = {}
            for phrases in map(int, arguments.phrases.split(",")):
                view = model.view(image, seen["view"])
                figures = measure(view, phrases, calls, watch)
                if name == "clip_sam":
                    figures["proposals"] = len(view.proposals)
                results[name][phrases] = figures
                print(f"{name}, {phrases} phrases: {', '.join(f'{k} {v:.2f}' for k, v in figures.items())}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
