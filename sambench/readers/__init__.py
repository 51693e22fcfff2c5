"""Formats, not datasets: image files, COCO-style JSON, mask PNGs. Shared by the plugins in ``datasets/``."""
