"""A question file as a local task of lmms-eval, which scores it as ``intp-video eval`` does."""
