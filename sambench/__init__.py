"""sambench: a zero-shot evaluation suite for promptable segmentation."""

__version__ = "0.1.0"
