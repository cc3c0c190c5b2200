// The schemas of the ops, once for all devices. Every op checks its arguments (see checks.h). `trusted` says that the
// contents of index arrays are known to be valid, so that the op does not read them: a graph checks them when it is
// built. op_args.h takes the arguments in the same order.
#include <torch/csrc/stable/library.h>

// A half of the graph is seven optional tensors: rowptr, col, weight, row_scale, col_scale, table, group.
#define SBP_HALF(name)                                                                                                \
  "Tensor? " name "_rowptr, Tensor? " name "_col, Tensor? " name "_weight, Tensor? " name "_row_scale, Tensor? " name \
  "_col_scale, Tensor? " name "_table, Tensor? " name "_group, "

#define SBP_SPMM                                                \
  "Tensor x, Tensor? x_neg, Tensor? residual, " SBP_HALF("pos") \
      SBP_HALF("neg") "Tensor? coef, float r, float p, float q, SymInt num_rows"

// The degree bins (see params.h), or five Nones. Only CUDA kernels read them.
#define SBP_DEGREE_BINS \
  "Tensor? chunk, Tensor? hub, Tensor? block_rows, Tensor? warp_rows, Tensor? light_rows, bool trusted=False"

// A class block whose table is recomputed in every step: the segments of its groups, and its block.
#define SBP_CLASS_BLOCK(name) \
  "Tensor? " name "_order, Tensor? " name "_segptr, Tensor? " name "_group_segptr, Tensor? " name "_block, "

#define SBP_CSR(name)                                                                                               \
  "Tensor " name "_rowptr, Tensor " name "_col, Tensor? " name "_weight, Tensor? " name "_row_scale, Tensor? " name \
  "_col_scale, "
// The floats come last, so that a call with `coef` can omit them: torch takes a microsecond to unpack them.
#define SBP_MERGED \
  "Tensor rowptr, Tensor col, Tensor value, Tensor? coef, bool trusted=False, float r=0., float p=0., float q=0."

STABLE_TORCH_LIBRARY(sbp, m) {
  // r R + p A+ x + q A- x_neg, with (r, p, q) read from `coef` if it is given.
  m.def("signed_spmm(" SBP_SPMM ", " SBP_DEGREE_BINS ") -> Tensor");
  // The same with LayerNorm of each row, and 1/std of each row.
  m.def("signed_spmm_norm(" SBP_SPMM ", float eps, " SBP_DEGREE_BINS ") -> (Tensor, Tensor)");
  // x after several steps and, if gamma [num_steps + 1] is given, the sum of gamma_k x_k.
  m.def("signed_spmm_steps(" SBP_SPMM ", float eps, SymInt num_steps, Tensor? gamma, " SBP_CLASS_BLOCK("pos")
            SBP_CLASS_BLOCK("neg") "bool own_residual, " SBP_DEGREE_BINS ") -> (Tensor, Tensor)");
  // The same three ops on a merged CSR (see merge_signs); CPU only.
  m.def("merged_spmm(Tensor x, Tensor? residual, " SBP_MERGED ") -> Tensor");
  m.def("merged_spmm_norm(Tensor x, Tensor? residual, float eps, " SBP_MERGED ") -> (Tensor, Tensor)");
  m.def(
      "merged_spmm_steps(Tensor x, Tensor? residual, float eps, SymInt num_steps, Tensor? gamma, bool "
      "own_residual, " SBP_MERGED ") -> (Tensor, Tensor)");
  // The merged CSR (rowptr, col, value): row 2 i has the positive edges of row i, times `p`, and row 2 i + 1 its
  // negative edges, times `q`.
  m.def("merge_signs(" SBP_CSR("pos")
            SBP_CSR("neg") "float p, float q, bool float64, bool trusted=False) -> (Tensor, Tensor, Tensor)");
  m.def("signed_pair(Tensor x, " SBP_HALF("pos") SBP_HALF("neg") "SymInt num_rows, " SBP_DEGREE_BINS
                                                                 ") -> (Tensor, Tensor)");
  m.def("signed_dot(Tensor y, Tensor x, " SBP_HALF("pos") SBP_HALF("neg") "Tensor? residual, " SBP_DEGREE_BINS
                                                                          ") -> Tensor");
  m.def(
      "edge_dot(Tensor a, Tensor b, Tensor rowptr, Tensor col, Tensor? row_scale, Tensor? col_scale, bool "
      "trusted=False) -> Tensor");
  m.def("group_sum(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr, bool trusted=False) -> Tensor");
  // block [rows, groups] @ sums [groups, d], in an order that does not depend on the number of threads.
  m.def("mix_groups(Tensor block, Tensor sums) -> Tensor");
  // (rowptr, col, order): edges sorted by row, then column, stably.
  m.def("coo_to_csr(Tensor row, Tensor col, SymInt num_rows, SymInt num_cols) -> (Tensor, Tensor, Tensor)");
  m.def("csr_transpose(Tensor rowptr, Tensor col, SymInt num_cols) -> (Tensor, Tensor, Tensor)");
  m.def("cpu_isa() -> str");
  m.def("cpu_traits() -> str");
  // 100 x the compute capabilities that this binary has code for. Only defined if CUDA sources were built.
  m.def("cuda_archs() -> str");
}
