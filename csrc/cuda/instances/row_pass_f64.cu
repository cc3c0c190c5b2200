#include "row_launch.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(double)
}  // namespace sbp::device
