#include "torch/stable.h"

// What overloads and operators of one kind have in common.
#define INTP_ROPE                                                                 \
  "Tensor positions, Tensor inv_freq, float attention_scaling, int[]? sections, " \
  "bool interleaved_sections, Tensor? order"
#define INTP_ATTENTION                                                                     \
  "Tensor bounds, int? window, int block, int sink, float scale, Tensor? first_key=None, " \
  "float? softcap=None, Tensor? sinks=None"

// Every operator. One with no_grad in its name is the same without a derivative, for calls that
// need none: autograd's way through Python costs more than the kernels of a decoded token.
//
// Shapes: B batch, Hq query heads, Hkv key heads, S tokens, D head_dim, F = D_rot/2
// frequencies; q [B, Hq, S, D], k and v [B, Hkv, S, D].
STABLE_TORCH_LIBRARY(TORCH_EXTENSION_NAME, m) {
  // int32 [S]: the storage row of the token at each time position
  m.def(
      "token_order(int groups, int frames_per_group, int tokens_per_frame, bool interleaved, *, "
      "Tensor(a!) out) -> ()");

  // features [B, R, C], order [S] or [B, S] -> [B, S, C]
  m.def("rearrange(Tensor features, Tensor order) -> Tensor");
  m.def("rearrange.out(Tensor features, Tensor order, *, Tensor(a!) out) -> ()");

  // positions [S], [1|B, S] or [3, 1|B, S], inv_freq [F], order [S] or [B, S]; .single is q alone
  // or k alone
  m.def("apply_rope(Tensor q, Tensor k, " INTP_ROPE ") -> (Tensor, Tensor)");
  m.def("apply_rope_no_grad(Tensor q, Tensor k, " INTP_ROPE ") -> (Tensor, Tensor)");
  m.def("apply_rope.out(Tensor q, Tensor k, " INTP_ROPE
        ", *, Tensor(a!) out_q, Tensor(b!) out_k) -> ()");
  m.def("apply_rope.single(Tensor x, " INTP_ROPE ") -> Tensor");
  m.def("apply_rope_no_grad.single(Tensor x, " INTP_ROPE ") -> Tensor");
  m.def("apply_rope.single_out(Tensor x, " INTP_ROPE ", *, Tensor(a!) out) -> ()");

  // bounds int32 [B, 5]: lo, hi, q_offset, block_start, dense_from (common/visibility.h);
  // first_key int32 [1|B, Sq], without a window; v [B, Hkv, S, Dv], Dv <= D; sinks float32 [Hq]
  m.def("attention_core(Tensor q, Tensor k, Tensor v, " INTP_ATTENTION ") -> Tensor");
  m.def("attention_core_no_grad(Tensor q, Tensor k, Tensor v, " INTP_ATTENTION ") -> Tensor");
  m.def("attention_core.out(Tensor q, Tensor k, Tensor v, " INTP_ATTENTION
        ", *, Tensor(a!) out) -> ()");

  // A cache (common/kv_page.h): codes uint8 [B, Hkv, pages, page_bytes], k_ranges [B, Hkv, key
  // groups, 2, D], v_ranges [B, Hkv, pages, value groups, 2, 64], rows [B, Hkv, R, D]; `length`
  // tokens are in it, the first `packed` in pages, and `now_packed` after the call. If that packs
  // tokens that are rows, they lie in k_old, v_old, like k_rows, v_rows, where the others move to.
  // bounds int32 [B, 2]: new tokens outside lo <= t < hi are padding. sinks [B, Hkv, slots, D];
  // first int32 [B], where there are slots: the first real token of each row after the call.
  m.def(
      "kv_append(Tensor k, Tensor v, Tensor? positions, Tensor? inv_freq, "
      "float attention_scaling, int[]? sections, bool interleaved_sections, Tensor? order, "
      "Tensor? bounds, Tensor? first, int length, int packed, int now_packed, int key_bits, "
      "int value_bits, int key_group, int value_group, Tensor? k_old, Tensor? v_old, Tensor(a!) "
      "k_codes, "
      "Tensor(b!) v_codes, Tensor(c!) k_ranges, Tensor(d!) v_ranges, Tensor(e!) k_rows, "
      "Tensor(f!) v_rows, Tensor(g!) k_sinks, Tensor(h!) v_sinks) -> ()");

  // Over the pages of a cache, and then its rows k_tail, v_tail [B, Hkv, T, D]: `length` tokens,
  // `packed` of them in pages. With positions float32 [B, R] or [3, B, R] and inv_freq, packed keys
  // are rotated when read; sinks come rotated, as the rows do.
  m.def(
      "kv_attention(Tensor q, Tensor k_tail, Tensor v_tail, Tensor k_codes, Tensor v_codes, "
      "Tensor k_ranges, Tensor v_ranges, Tensor k_sinks, Tensor v_sinks, Tensor? first, "
      "int length, int packed, int key_bits, int value_bits, int key_group, "
      "int value_group, Tensor? positions, Tensor? inv_freq, float attention_scaling, "
      "int[]? sections, bool interleaved_sections, " INTP_ATTENTION ") -> Tensor");
}
