"""``python -m tracker_conformance``."""

import sys

from tracker_conformance.cli import main

if __name__ == "__main__":
    sys.exit(main())
