#include "steps_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(float)
}  // namespace sbp::device
