"""Whole runs beside the encoder alone, and a run with kept encodings beside the cold one, all in one process.

    python benchmarks/pipeline.py [--dataset demo] [--data-root DIR] [--images 12] [--clicks 1] [--size vit_b]
                                  [--dtype float32] [--device cpu] [--json FILE]

SAM with random weights. Compared are images per second: of the encoder on images that are ready in memory; of a whole
run of ``single_point`` from reading to records, once it has started; of the same run with every encoding kept (its
images read, clicked and recorded all the same). Loading the model is in none of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from single_point import VIT_B, machine

from sambench import evaluate
from sambench.engine.encoding_cache import EncodingsSpec
from sambench.models import zoo
from sambench.planning.plan import make_plan, specification
from sambench.planning.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import official_sam

SIZES = {
    "vit_b": VIT_B,
    "vit_l": {"width": 1024, "depth": 24, "heads": 16, "global_layers": (5, 11, 17, 23)},
    "vit_h": {"width": 1280, "depth": 32, "heads": 16, "global_layers": (7, 15, 23, 31)},
}


class Silent:
    def update(self, images: int, masks: int, failed: int) -> None: ...


@contextmanager
def silently(title: str, done: int, total: int) -> Any:
    yield Silent()


def encoder_alone(settings: Settings) -> float:
    """Images per second."""
    (triple,) = make_plan(settings).triples
    spec = specification(triple)
    torch.set_num_threads(spec.threads)
    model: Any = triple.model.load(spec.device, spec.encode_batch)
    dataset = triple.found.open()
    images = [dataset.load(id).image for id in triple.index[: settings.limit]]
    prepared = [model.prepare(image) for image in images]
    batch = spec.encode_batch
    model.encode_prepared(prepared[:batch])
    began = time.perf_counter()
    for start in range(0, len(prepared), batch):
        views = model.encode_prepared(prepared[start : start + batch])
        if spec.device == "cuda":
            torch.cuda.synchronize()
        del views
    return len(images) / (time.perf_counter() - began)


def whole_run(settings: Settings) -> tuple[float, dict[str, Any]]:
    """Images per second, and the manifest."""
    ((_, path, summary),) = evaluate.evaluate(make_plan(settings).triples, silently)
    manifest = json.loads((path / "manifest.json").read_text())
    shutil.rmtree(settings.out)
    return (summary["n_scored"] + summary["n_excluded"]) / manifest["timings"]["wall"], manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--clicks", default="1")
    parser.add_argument("--size", default="vit_b", choices=SIZES)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    facts = machine(given.device)
    print(", ".join(f"{k} {v}" for k, v in facts.items()))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pth"
        torch.save(official_sam.build(**SIZES[given.size]).state_dict(), checkpoint)
        settings = Settings(
            ["single_point"],
            [given.dataset],
            [str(checkpoint)],
            given.data_root,
            Path(folder) / "runs",
            limit=given.images,
            device=given.device,
            subset="full",
            assignments=[f"task.clicks={given.clicks}", f"model.dtype={given.dtype}"],
            encodings=EncodingsSpec(Path(folder) / "encodings", 10**11, "float32"),
        )
        name = zoo.locate(str(checkpoint), {}).name
        alone = [encoder_alone(settings)]
        cold, cold_manifest = whole_run(settings)
        alone.append(encoder_alone(settings))
        warm, warm_manifest = whole_run(settings)
    encoder = sum(alone) / 2
    results = {
        "machine": facts,
        "model": name,
        "clicks": given.clicks,
        "encoder_images_per_second": alone,
        "cold_images_per_second": cold,
        "warm_images_per_second": warm,
        "cold_of_encoder": cold / encoder,
        "warm_of_cold": warm / cold,
        "cold": cold_manifest["profile"],
        "warm": warm_manifest["profile"],
        "notes": [m["sessions"][-1].get("notes") for m in (cold_manifest, warm_manifest)],
    }
    print(f"{name}, {given.dataset}, {given.images} images, clicks {given.clicks}, {given.dtype}")
    print(f"encoder alone {alone[0]:.3f}, {alone[1]:.3f} images/s; whole run {cold:.3f}: {100 * cold / encoder:.1f} %")
    print(f"with every encoding kept {warm:.3f} images/s: {warm / cold:.1f} times the cold run")
    for title in ("cold", "warm"):
        print(f"{title}: " + ", ".join(f"{stage} {100 * share:.1f} %" for stage, share in results[title].items()))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
