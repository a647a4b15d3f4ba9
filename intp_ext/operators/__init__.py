"""The operators, one per file: the public function with its checks, the fake that
``torch.compile`` and meta tensors use, and the backward formula. Kernels are in csrc/, definitions
in :mod:`intp_ext.reference`.

Shapes: B batch, Hq query heads, Hkv key heads, S tokens, D head_dim, F = D_rot/2 frequencies.
"""
