"""How the small model of the motion task is made: ``python -m intp_video.lab.training.motion``."""
