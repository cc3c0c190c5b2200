#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(bf16)
}  // namespace sbp::device
