#include "multi_step_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(float)
}  // namespace sbp::device
