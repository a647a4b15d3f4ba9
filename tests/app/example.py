"""What the tests of the page ask for."""

from intp_video.app.showing import Choice

CHOICE = Choice(frames=32, window=None, rope="yarn", kv_bits=16)
