#include "steps_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_STEPS(fp16)
}  // namespace sbp::device
