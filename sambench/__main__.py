"""``python -m sambench`` is ``sambench``."""

from sambench.cli import main

if __name__ == "__main__":
    main()
