"""A long run of small images: does memory grow, do files stay open, does it slow down?

    python benchmarks/soak.py [--images 5000] [--workers 1] [--model region_tree] [--json FILE]

Makes the images (96 x 96 pixels, three squares), runs ``sambench run`` on them, and every second notes how much memory
the process and its workers hold and how many files they have open. Prints the figures by tenths of the run. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make(folder: Path, count: int) -> None:
    """In the layout of ``mask_pngs``."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for n in range(count):
        image = rng.integers(0, 60, (96, 96, 3), np.uint8)
        masks = folder / "masks" / f"{n:05d}"
        masks.mkdir(parents=True)
        for k, (y, x) in enumerate(rng.integers(0, 66, (3, 2))):
            mask = np.zeros((96, 96), np.uint8)
            mask[y : y + 30, x : x + 30] = 255
            image[mask > 0] = (80 * k + 60, 120, 250 - 80 * k)
            Image.fromarray(mask).save(masks / f"{k}.png")
        Image.fromarray(image).save(folder / "images" / f"{n:05d}.png")


def family(pid: int) -> list[int]:
    """A process and what it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(p for child in children for p in family(int(child)))]


def memory(pid: int) -> float:
    """Megabytes that belong to it alone."""
    try:
        fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")) / 1024
    except (OSError, KeyError, ValueError):
        return 0.0


def open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model", default="region_tree")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data, log = Path(scratch) / "data", Path(scratch) / "log.jsonl"
        make(data, given.images)
        command = ["run", "-t", "single_point", "-d", f"mask_pngs:{data}", "-m", given.model, "--out", f"{scratch}/out"]
        command += ["--subset", "full", "--workers", str(given.workers), "--log-json", str(log)]
        run = subprocess.Popen([sys.executable, "-m", "sambench", *command], stdout=subprocess.DEVNULL)
        seen: list[tuple[int, float, float, int]] = []
        while run.poll() is None:
            time.sleep(1)
            lines = log.read_text().splitlines() if log.exists() else []
            done = json.loads(lines[-1])["images_done"] if lines else 0
            pids = family(run.pid)
            if 0 < done < given.images:
                held = sum(map(memory, pids))
                seen.append((done, time.monotonic(), held, sum(map(open_files, pids))))
        if run.returncode:
            sys.exit(f"the run ended with {run.returncode}")
    tenths = []
    for tenth in range(10):
        part = [one for one in seen if tenth <= 10 * one[0] // given.images < tenth + 1]
        if len(part) > 1:
            rate = (part[-1][0] - part[0][0]) / (part[-1][1] - part[0][1])
            held, files = statistics.median(one[2] for one in part), statistics.median(one[3] for one in part)
            tenths.append({"images": part[-1][0], "images_per_second": rate, "megabytes": held, "open_files": files})
            print(f"{part[-1][0]:6d} images: {rate:6.1f} images/s, {held:7.1f} MB, {files:.0f} files open")
    if given.json:
        given.json.write_text(json.dumps({"workers": given.workers, "tenths": tenths}, indent=1) + "\n")


if __name__ == "__main__":
    main()
