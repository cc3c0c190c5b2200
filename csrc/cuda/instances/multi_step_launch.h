// The launch of the multi-step kernel, declared for the op and instantiated in this folder once per storage type.
#pragma once

#include "row_launch.h"
#include "../multi_step.cuh"

namespace sbp::device {

// Run all steps in one launch. Return false, without a launch, if the features do not fit in L2, the layout does not
// allow it, or the device has no cooperative launches.
template <class S>
bool run_multi_step(const Context& context, MultiStepParams<Acc<S>> params, bool layer_norm, bool int64_columns);

}  // namespace sbp::device
