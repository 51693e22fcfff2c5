"""``python -m sambench`` is ``sambench``."""

from sambench.cli.main import main

if __name__ == "__main__":
    main()
