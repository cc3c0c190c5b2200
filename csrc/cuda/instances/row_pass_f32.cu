#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(float)
}  // namespace sbp::device
