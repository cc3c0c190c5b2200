#include "multi_step_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_MULTI_STEP(fp16)
}  // namespace sbp::device
