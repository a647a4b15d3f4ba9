"""What the low-bit cache costs on a real trained decoder, through the packed path.

decoder     Gemma 3 270M, of packages that pip installs
texts       what it reads: prose, code, licences, all of them installed with Python
schemes     ways to cache keys and values, and what one costs in bytes
layers      a scheme as the cache of a model of transformers, and the attention that reads it
reading     a text read as generation would read it, but in chunks
measuring   what fewer bits change: perplexity, KL, likeliest tokens, what is written
records     results kept as they come, so that a run goes on; and their summary
"""
