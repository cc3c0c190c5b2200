#include "multi_step_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(fp16)
}  // namespace sbp::device
