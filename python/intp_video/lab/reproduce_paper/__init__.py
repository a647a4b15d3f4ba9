"""The paper's evaluation as commands and empty tables, for whoever has the weights and a GPU.

Nothing of it has been run here.
"""
