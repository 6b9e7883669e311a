"""``python -m qfast``: the same as the command ``qfast``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    from qfast.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
