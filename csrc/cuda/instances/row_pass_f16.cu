#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(fp16)
}  // namespace sbp::device
