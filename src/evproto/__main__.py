"""``python -m evproto`` is the command ``evproto``."""

import sys

from evproto.cli import main

if __name__ == "__main__":
    sys.exit(main())
