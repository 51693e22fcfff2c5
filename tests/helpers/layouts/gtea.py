"""GTEA hand2K: LabelMe outlines and mask files of GTEA and, deeper by a folder, of GTEA Gaze+."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.layouts.dram import boxes
from helpers.tiny_datasets import photo, save

SIZE = (40, 60)
Outline = tuple[str, int, Sequence[tuple[object, object]]]


def build(root: Path) -> None:
    """Frames of GTEA: both hands, the left of two outlines; a right hand beside a deleted and a degenerate outline, the
    frame in another letter case; both hands and what crosses, a name without a side, bare & and a Latin-1 letter;
    no hand. One frame of Gaze+."""
    base = root / "gtea" / "hand2K_dataset"
    at = base / "GTEA"
    left, right = rectangle(2, 3, 12, 13), rectangle(30, 5, 45, 15)
    frames: dict[str, list[Outline]] = {
        "s1_tea_0000000020": [
            ("Left hand", 0, left),
            ("right_Hand", 0, right),
            ("left_hand", 0, rectangle(2, 20, 7, 25)),
        ],
        "s2_cheese_0000000020": [
            ("Right hand", 0, rectangle(50, 30, 75, 60)),
            ("Left hand", 1, left),
            ("Left hand", 0, [(1, 1), (5, 5)]),
        ],
        "s3_peanut_0000000140": [
            ("Left hand", 0, left),
            ("Right hand", 0, right),
            ("crossing", 0, rectangle(20, 30, 24, 35)),
            ("Daumen & Ärmel", 0, rectangle(50, 0, 55, 5)),
        ],
        "s4_coffee_0000000001": [],
    }
    for stem, outlines in frames.items():
        upper = stem.startswith("s2")
        save(at / "Images" / f"{stem.upper() if upper else stem}.jpg", photo(*SIZE))
        write_xml(at / "Annotations" / f"{stem}.xml", outlines, "latin-1" if stem.startswith("s3") else "utf-8")
        save(at / "Masks" / f"{stem}.png", boxes([(1, 0, 0, 12, 12), (2, 0, 30, 12, 12), (3, 20, 0, 3, 3)]))
    save(at / "oldImages" / "s1_tea_0000000010.jpg", photo(*SIZE))
    save(at / "oldMasks" / "s1_tea_0000000010.png", boxes([]))
    plus = base / "GTEA_GAZE_PLUS"
    save(plus / "Images" / "Ahmad_American" / "0000000500.jpg", photo(*SIZE))
    write_xml(plus / "Annotations" / "Ahmad_American" / "0000000500.xml", [("Left_hand", 0, left)], "utf-8")
    save(plus / "Masks" / "Ahmad_American" / "0000000500.png", boxes([(1, 3, 2, 10, 10)]))
    (base / "Readme.txt").write_text("hand masks\n")


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[object, object]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def write_xml(path: Path, outlines: Sequence[Outline], encoding: str) -> None:
    """As LabelMe's web tool saves: line ends of Windows, nothing escaped, no declaration."""
    objects = "".join(
        f"<object><name>{name}</name><deleted>{deleted}</deleted><verified>0</verified><polygon><username>x</username>"
        + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>\r\n"
        for name, deleted, points in outlines
    )
    text = f"<annotation><filename>{path.stem}.jpg</filename>\r\n{objects}</annotation>\r\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
