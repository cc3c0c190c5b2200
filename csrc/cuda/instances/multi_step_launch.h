// K steps of a graph, by one launch where features stay in the second-level cache, else launch by launch.
#pragma once

#include "row_launch.h"
#include "../multi_step.cuh"

namespace sbp::device {

// False if one launch cannot hold the steps (cache, layout, or a device without cooperative launches).
template <class S>
bool run_steps_at_once(const Context& context, StepsParams<Acc<S>> params, bool normalises, bool wide_index);

}  // namespace sbp::device
