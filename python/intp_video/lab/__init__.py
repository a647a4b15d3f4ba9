"""The laboratory: what made, measures and tests this package, and is not needed to use it.

``shapes/`` and ``motion/`` are the synthetic worlds, with their videos and questions;
``random_model.py`` and ``training/`` make models, and ``model_directory.py`` writes both as the
Hugging Face hub has them; ``evaluation/`` measures accuracy. The rest of the package never imports
it; of the command line, the subcommands that need it do, when they run.
"""
