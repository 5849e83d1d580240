"""``python -m wsproto_tracker`` is the command ``wsproto-tracker``."""

import sys

from wsproto_tracker.cli import main

sys.exit(main())
