"""How the small Video-LLaVA of this package was made: ``python -m intp_video.lab.training``."""
