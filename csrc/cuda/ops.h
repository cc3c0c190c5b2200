// From the arguments of the ops to the kernels' structs.
#pragma once

#include <tuple>

#include "rows.h"

#define SBP_SPMM_PARAMS(S)                                                                                            \
  spmm_params<Acc<S>>(x, residual, SBP_HALF_OF(pos, x), SBP_HALF_OF(neg, x_neg.has_value() ? *x_neg : x), coef, r, p, \
                      q, plan_of(num_rows, chunk, hub, block_rows, warp_rows, light_rows))

namespace sbp::device {

// Without a plan every row gets a warp.
inline RowPlan plan_of(int64_t num_rows, const MaybeTensor& chunk, const MaybeTensor& hub,
                       const MaybeTensor& block_rows, const MaybeTensor& warp_rows, const MaybeTensor& light_rows) {
  RowPlan plan;
  if (!warp_rows.has_value()) {
    plan.num_warp_rows = num_rows;
    return plan;
  }
  plan.chunk = static_cast<const int32_t*>(pointer(chunk));
  plan.hub = static_cast<const int32_t*>(pointer(hub));
  plan.block_rows = static_cast<const int32_t*>(pointer(block_rows));
  plan.warp_rows = static_cast<const int32_t*>(pointer(warp_rows));
  plan.light_rows = static_cast<const int32_t*>(pointer(light_rows));
  plan.num_chunks = int(chunk->size(0));
  plan.num_hubs = int(hub->size(0)) - 1;
  plan.num_block_rows = int(block_rows->numel());
  plan.num_warp_rows = warp_rows->numel();
  plan.num_light_rows = light_rows->numel();
  return plan;
}

template <class A> SignedSpmmParams<A> spmm_params(const Tensor& x, const MaybeTensor& residual, const Half& pos,
                                                   const Half& neg, const MaybeTensor& coef, double r, double p,
                                                   double q, const RowPlan& plan) {
  SignedSpmmParams<A> params;
  params.half[0] = pos;
  params.half[1] = neg;
  params.plan = plan;
  params.width = x.size(1);
  params.coef_tensor = static_cast<const A*>(pointer(coef));
  params.coef[0] = A(r);
  params.coef[1] = A(p);
  params.coef[2] = A(q);
  if (residual.has_value()) {
    params.residual = residual->const_data_ptr();
    params.residual_stride = residual->stride(0);
  }
  return params;
}

// Room for the chunks of hubs, kept by the caller until its launches are queued.
template <class A> MaybeTensor partial_of(const Tensor& x, SignedSpmmParams<A>& params, int64_t sums) {
  if (params.plan.num_chunks == 0) return {};
  Tensor partial = new_matrix(x, params.plan.num_chunks * sums, params.width, acc_type(x));
  params.partial = static_cast<A*>(partial.mutable_data_ptr());
  return partial;
}

}  // namespace sbp::device
