"""The command line: ``intp-video``. One file a subcommand."""

from .main import main

__all__ = ["main"]
