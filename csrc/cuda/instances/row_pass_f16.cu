#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROW_PASS(fp16)
}  // namespace sbp::device
