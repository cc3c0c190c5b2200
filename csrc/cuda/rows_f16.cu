#include "rows.cuh"

namespace sbp::device {
SBP_INSTANTIATE_ROWS(fp16)
}  // namespace sbp::device
