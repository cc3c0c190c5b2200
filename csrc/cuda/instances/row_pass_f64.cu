#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROW_PASS(double)
}  // namespace sbp::device
