#include "multi_step_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_MULTI_STEP(float)
}  // namespace sbp::device
