// From the arguments of the ops to the kernels' structs.
#pragma once

#include <tuple>

#include "rows.h"

#define SBP_OPERANDS read_operands(args, x, x_neg, residual, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows)

namespace sbp::device {

// Without a plan every row gets a warp.
inline RowPlan plan_of(Arguments& args, const PlanTensors& tensors, int64_t num_rows) {
  const Plan given = read_plan(args, tensors, num_rows);
  RowPlan plan;
  if (!given.given) {
    plan.num_warp_rows = num_rows;
    return plan;
  }
  if (given.num_chunks > INT32_MAX || num_rows > INT32_MAX)
    args.refuse("a plan holds at most 2147483647 rows and chunks, got " + std::to_string(num_rows) + " and " +
                std::to_string(given.num_chunks));
  plan.chunk = static_cast<const int32_t*>(given.chunk);
  plan.hub = static_cast<const int32_t*>(given.hub);
  plan.block_rows = static_cast<const int32_t*>(given.block_rows);
  plan.warp_rows = static_cast<const int32_t*>(given.warp_rows);
  plan.light_rows = static_cast<const int32_t*>(given.light_rows);
  plan.num_chunks = int(given.num_chunks);
  plan.num_hubs = int(given.num_hubs);
  plan.num_block_rows = int(given.num_block_rows);
  plan.num_warp_rows = given.num_warp_rows;
  plan.num_light_rows = given.num_light_rows;
  return plan;
}

// (r, p, q), on the device where they come as a tensor; then in the accumulation type.
struct Coefficients {
  Coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q)
      : tensor(args.vector("coef", coef, args.acc(), {"numbers", 3})), number{r, p, q} {}
  const void* tensor;
  double number[3];
};

template <class A> SignedSpmmParams<A> spmm_params(const Operands& all, const Coefficients& coef, const RowPlan& plan) {
  SignedSpmmParams<A> params;
  params.half[0] = all.half[0];
  params.half[1] = all.half[1];
  params.plan = plan;
  params.width = all.x.width;
  params.coef_tensor = static_cast<const A*>(coef.tensor);
  for (int i = 0; i < 3; ++i) params.coef[i] = A(coef.number[i]);
  params.residual = all.residual.data;
  params.residual_stride = all.residual.stride;
  return params;
}

// Room for the chunks of hubs, kept by the caller until its launches are queued.
template <class A> MaybeTensor partial_of(const Tensor& x, SignedSpmmParams<A>& params, int64_t sums) {
  if (params.plan.num_chunks == 0) return {};
  Tensor partial = new_matrix(x, params.plan.num_chunks * sums, params.width,
                              sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float);
  params.partial = static_cast<A*>(partial.mutable_data_ptr());
  return partial;
}

}  // namespace sbp::device
