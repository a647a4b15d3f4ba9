"""Answerers without a model, for the processes of a pool: they are pickled by name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from intp_video.batch.rows import answered, failed
from intp_video.errors import ModelError


@dataclass
class Scripted:
    """Does what the video of a row is called; everything else is answered with its own process.

    Attributes:
        folder: of notes that its processes leave each other.
    """

    folder: str

    def load(self):
        self._note("load")

    def __call__(self, row):
        self._note(f"{row['id']}")
        act = getattr(self, f"_{row['video']}", None)
        if act is not None and (done := act(row)) is not None:
            return done
        return answered(row, [str(os.getpid())], None)

    def times(self, what):
        """How often something was noted."""
        path = Path(self.folder, what)
        return path.stat().st_size if path.exists() else 0

    def _note(self, what):
        with open(Path(self.folder, what), "ab") as file:
            file.write(b".")

    def _damaged(self, row):
        return failed(row, "no video")

    def _kills(self, row):
        os.kill(os.getpid(), signal.SIGKILL)

    def _kills_once(self, row):
        if self.times(f"{row['id']}") == 1:
            self._kills(row)

    def _exits(self, row):
        os._exit(3)

    def _breaks_the_model(self, row):
        raise ModelError("the model\nis broken")

    def _lasts(self, row):
        time.sleep(600)


class DiesAtFirst(Scripted):
    """Its first process dies while it loads, every other answers."""

    def load(self):
        super().load()
        if self.times("load") == 1:
            self._kills({})


class NeverLoads(Scripted):
    def load(self):
        self._kills({})


class NoModel(Scripted):
    def load(self):
        raise ModelError("there is no such folder")
