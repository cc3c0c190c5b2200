// The schemas, once for every device. Python validates; kernels trust.
#include <torch/csrc/stable/library.h>

// A half of the graph is seven optional tensors: rowptr, col, weight, row_scale, col_scale, table, group.
#define SBP_HALF(name)                                                                                                \
  "Tensor? " name "_rowptr, Tensor? " name "_col, Tensor? " name "_weight, Tensor? " name "_row_scale, Tensor? " name \
  "_col_scale, Tensor? " name "_table, Tensor? " name "_group, "

#define SBP_SPMM                                                \
  "Tensor x, Tensor? x_neg, Tensor? residual, " SBP_HALF("pos") \
      SBP_HALF("neg") "Tensor? coef, float r, float p, float q, SymInt num_rows"

STABLE_TORCH_LIBRARY(sbp, m) {
  // r R + p A+ x + q A- x_neg, with (r, p, q) read from `coef` where it is given.
  m.def("signed_spmm(" SBP_SPMM ") -> Tensor");
  // The same with each row standardised (LayerNorm), and 1/std of each row.
  m.def("signed_spmm_norm(" SBP_SPMM ", float eps) -> (Tensor, Tensor)");
  m.def("signed_pair(Tensor x, " SBP_HALF("pos") SBP_HALF("neg") "SymInt num_rows) -> (Tensor, Tensor)");
  m.def("signed_dot(Tensor y, Tensor x, " SBP_HALF("pos") SBP_HALF("neg") "Tensor? residual) -> Tensor");
  m.def("edge_dot(Tensor a, Tensor b, Tensor rowptr, Tensor col, Tensor? row_scale, Tensor? col_scale) -> Tensor");
  m.def("group_sum(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) -> Tensor");
  // block @ sums, in an order that does not depend on the number of threads.
  m.def("mix_groups(Tensor block, Tensor sums) -> Tensor");
  // (rowptr, col, order): edges sorted by row, then column, stably.
  m.def("coo_to_csr(Tensor row, Tensor col, SymInt num_rows, SymInt num_cols) -> (Tensor, Tensor, Tensor)");
  m.def("csr_transpose(Tensor rowptr, Tensor col, SymInt num_cols) -> (Tensor, Tensor, Tensor)");
  m.def("cpu_isa() -> str");
}
