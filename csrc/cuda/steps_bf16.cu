#include "steps_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(bf16)
}  // namespace sbp::device
