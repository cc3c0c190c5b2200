#include "rows.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(float)
}  // namespace sbp::device
