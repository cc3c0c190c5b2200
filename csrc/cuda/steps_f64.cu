#include "steps_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(double)
}  // namespace sbp::device
