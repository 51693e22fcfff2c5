"""Hypersim: two scenes of HDF5 files and previews, and the table of splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from helpers.layouts.dram import boxes
from helpers.tiny_datasets import photo, save

SIZE = (40, 60)
HEADER = "scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name"


def build(root: Path) -> None:
    """ai_001_001, cam_00: frame 0 with a wall, a chair in two pieces and an object without a class; frame 7 with
    nothing; frame 9 without its instance file. ai_010_002, cam_03: frame 12 with the colour in HDF5 too."""
    at = root / "hypersim"
    ids = boxes([(1, 0, 0, 10, 60), (5, 20, 5, 4, 4), (5, 20, 20, 4, 4), (40, 30, 30, 5, 5)]).astype(np.int16)
    ids[ids == 0] = -1
    classes = boxes([(1, 0, 0, 10, 60), (5, 20, 5, 4, 24)]).astype(np.int16)
    classes[classes == 0] = -1
    classes[20, 5] = 39
    frame(at, "ai_001_001", "cam_00", 0, ids, classes)
    frame(at, "ai_001_001", "cam_00", 7, np.full(SIZE, -1, np.int16), np.full(SIZE, -1, np.int16))
    save(at / "ai_001_001/images/scene_cam_00_final_preview/frame.0009.tonemap.jpg", photo(*SIZE))
    one = np.where(boxes([(3, 2, 2, 6, 6)]) == 3, 3, -1).astype(np.int16)
    frame(at, "ai_010_002", "cam_03", 12, one, np.where(one == 3, 22, -1).astype(np.int16))

    images = at / "ai_010_002" / "images"
    colour = np.full((*SIZE, 3), 0.5, np.float16)
    colour[0, 0], colour[1, 1] = np.nan, np.inf
    array(images / "scene_cam_03_final_hdf5" / "frame.0012.color.hdf5", colour)
    entities = np.ones(SIZE, np.int32)
    entities[0:2] = -1
    array(images / "scene_cam_03_geometry_hdf5" / "frame.0012.render_entity_id.hdf5", entities)
    (at / "ai_001_001" / "_detail").mkdir()
    (at / "ai_001_001" / "_detail" / "metadata_cameras.csv").write_text("camera_name\ncam_00\n")
    rows = ("ai_001_001,cam_00,0,True,,train", "ai_001_001,cam_00,7,True,,train", "ai_001_001,cam_00,8,False,logo,val")
    table = "\n".join((HEADER, *rows, "ai_010_002,cam_03,12,True,,test", ""))
    (at / "metadata_images_split_scene_v1.csv").write_text(table)


def frame(at: Path, scene: str, camera: str, number: int, ids: Any, classes: Any) -> None:
    images = at / scene / "images"
    save(images / f"scene_{camera}_final_preview" / f"frame.{number:04d}.tonemap.jpg", photo(*SIZE))
    save(images / f"scene_{camera}_final_preview" / f"frame.{number:04d}.color.jpg", photo(*SIZE))
    geometry = images / f"scene_{camera}_geometry_hdf5"
    array(geometry / f"frame.{number:04d}.semantic_instance.hdf5", ids)
    array(geometry / f"frame.{number:04d}.semantic.hdf5", classes)
    array(geometry / f"frame.{number:04d}.depth_meters.hdf5", np.ones(SIZE, np.float16))


def array(path: Path, values: Any, key: str = "dataset") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=values, compression="gzip")
