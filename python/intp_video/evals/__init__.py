"""Public harnesses of benchmarks, with the answers of an extended model.

Importing this needs none of them: each is imported by the one module that is named after it.
"""
