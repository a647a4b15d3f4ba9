"""``python -m intp_video.cli`` is ``intp-video``."""

import sys

from . import main

sys.exit(main())
