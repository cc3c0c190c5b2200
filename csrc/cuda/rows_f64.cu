#include "rows.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(double)
}  // namespace sbp::device
