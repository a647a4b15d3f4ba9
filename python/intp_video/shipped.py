"""The trained model that comes with this package."""

from pathlib import Path

SMALL_MODEL = Path(__file__).parent / "small_model"
"""A Video-LLaVA of 1.7 million parameters, in the format of the Hugging Face hub. It was trained on
8 frames of the shapes task (``python -m intp_video.lab.training``) and knows nothing else; what it
can do stands in its README.md."""
