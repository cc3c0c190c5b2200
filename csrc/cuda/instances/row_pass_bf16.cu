#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROW_PASS(bf16)
}  // namespace sbp::device
