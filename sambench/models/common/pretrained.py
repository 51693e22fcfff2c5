"""A network of transformers from a folder as ``save_pretrained`` writes it: all of it or none, in one line.

Importing this module imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sambench.errors import UsageError
from sambench.models.common import checkpoints


def load(automatic: Any, folder: Path, called: str, unfit: str, device: str, **changes: Any) -> Any:
    """The network in float32 on a device, for inference. ``automatic``: transformers' class that loads its kind.
    ``called``: the network, ``unfit``: a folder that holds none, as messages say it. Raises UsageError if the folder
    does not hold all of it."""
    quiet()
    try:
        network, report = automatic.from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            **changes,
        )
    except Exception as error:  # a library's own, of many kinds
        raise UsageError(f"{folder} {unfit}: {checkpoints.one_line(error)}") from error
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if lacking:
        raise UsageError(
            f"{folder}: {len(lacking)} tensors of the {called} are missing or of another size "
            f"({checkpoints.some(lacking)})"
        )
    return network.to(device).eval().requires_grad_(False)


def quiet() -> None:
    """transformers' report of a folder that does not fit is a page; the same is said here in a line."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
