"""``python -m intp_video.cli`` is ``intp-video``."""

import sys

from .main import main

sys.exit(main())
