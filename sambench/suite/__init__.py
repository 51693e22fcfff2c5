"""The import path of the plugin folders ``tasks/`` and ``datasets/``.

In a checkout (also an editable install) the folders lie at the root of the repository, where they must not be
packages: a package named ``datasets`` there would shadow Hugging Face's. Pointing ``__path__`` at the root gives
each plugin file a true import name (``sambench.suite.datasets.bbbc038``), so that it pickles, spawns and shows up
right in tracebacks. In an installed wheel the folders lie beside this file and the path is simply true.
"""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "pyproject.toml").is_file() and (_root / "tasks").is_dir():
    __path__ = [str(_root)]
