// The fibers of the shim, and the schemas of the ops under the name sbp_shim, whose kernels take CPU tensors.
#include "shim.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "launch.h"

namespace shim {

Index thread, block;
dim3 grid_size;

namespace {

enum class State { kReady, kAtWarp, kAtBlock, kAtGrid, kDone };

struct Fiber {
  void* stack_pointer = nullptr;
  std::vector<char> stack;
  Index thread, block;
  int block_number = 0;
  State state = State::kReady;
  uint64_t bits = 0;    // passed to an exchange
  uint64_t result = 0;  // received from it
  int from = 0;
};

constexpr size_t kStackBytes = 64 << 10;
std::vector<Fiber> fibers;
std::vector<std::vector<char>> shared_blocks;
Fiber* current = nullptr;
void* scheduler_stack = nullptr;
void (*kernel_body)(void*) = nullptr;
void* kernel_context = nullptr;
bool reversed = std::getenv("SBP_SHIM_REVERSED") != nullptr;

extern "C" void shim_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl shim_switch
.type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shim_switch, .-shim_switch
)");
#else
#error "the shim switches stacks on x86-64 only"
#endif

void park(State state) {
  current->state = state;
  Fiber* self = current;
  shim_switch(&self->stack_pointer, scheduler_stack);
}

void fiber_main() {
  kernel_body(kernel_context);
  park(State::kDone);
}

void prepare(Fiber& fiber) {
  fiber.stack.resize(kStackBytes);
  // The first switch pops six registers and returns into fiber_main, at the alignment a call leaves.
  auto top = reinterpret_cast<uintptr_t>(fiber.stack.data() + kStackBytes) & ~uintptr_t(63);
  void** sp = reinterpret_cast<void**>(top - 8);
  *--sp = reinterpret_cast<void*>(&fiber_main);
  sp -= 6;
  std::memset(sp, 0, 6 * sizeof(void*));
  fiber.stack_pointer = sp;
  fiber.state = State::kReady;
}

// If all of [first, last) wait in `state`, make them ready.
bool release(size_t first, size_t last, State state) {
  for (size_t i = first; i < last; ++i) {
    if (fibers[i].state != state) return false;
  }
  if (state == State::kAtWarp) {
    for (size_t i = first; i < last; ++i) fibers[i].result = fibers[first + size_t(fibers[i].from)].bits;
  }
  for (size_t i = first; i < last; ++i) fibers[i].state = State::kReady;
  return true;
}

void run_fibers(size_t threads) {
  for (size_t done = 0; done < fibers.size();) {
    bool moved = false;
    done = 0;
    for (size_t n = 0; n < fibers.size(); ++n) {
      Fiber& fiber = fibers[reversed ? fibers.size() - 1 - n : n];
      if (fiber.state == State::kReady) {
        current = &fiber;
        thread = fiber.thread;
        block = fiber.block;
        shim_switch(&scheduler_stack, fiber.stack_pointer);
        moved = true;
      }
      done += fiber.state == State::kDone;
    }
    for (size_t first = 0; first < fibers.size(); first += 32) moved |= release(first, first + 32, State::kAtWarp);
    for (size_t first = 0; first < fibers.size(); first += threads)
      moved |= release(first, first + threads, State::kAtBlock);
    moved |= release(0, fibers.size(), State::kAtGrid);
    if (!moved && done < fibers.size())
      throw std::runtime_error("shim: threads wait at a barrier or shuffle that others never reach");
  }
}

}  // namespace

void* shared_memory() { return shared_blocks[size_t(current->block_number)].data(); }
void wait_block() { park(State::kAtBlock); }
void wait_grid() { park(State::kAtGrid); }
int lane() { return int(current->thread.x % 32); }
uint64_t exchange(uint64_t bits, int from) {
  current->bits = bits;
  current->from = from;
  park(State::kAtWarp);
  return current->result;
}
void wait_warp() { exchange(0, lane()); }

void run(dim3 grid, dim3 size, int shared, void (*body)(void*), void* context, bool cooperative) {
  kernel_body = body;
  kernel_context = context;
  grid_size = grid;
  const size_t blocks = size_t(grid.x) * grid.y, at_once = cooperative ? blocks : 1;
  for (size_t first = 0; first < blocks; first += at_once) {
    fibers.resize(at_once * size.x);
    shared_blocks.assign(at_once, {});
    for (size_t b = 0; b < at_once; ++b) {
      // Uninitialised, as on a device, and of the exact size, so that AddressSanitizer reports an access beyond it.
      shared_blocks[b].assign(size_t(shared), char(0xff));
      for (unsigned t = 0; t < size.x; ++t) {
        Fiber& fiber = fibers[b * size.x + t];
        fiber.thread.x = t;
        fiber.block.x = unsigned((first + b) % grid.x);
        fiber.block.y = unsigned((first + b) / grid.x);
        fiber.block_number = int(b);
        prepare(fiber);
      }
    }
    run_fibers(size.x);
  }
}

}  // namespace shim

namespace sbp::device {
cudaStream_t current_stream(int) { return nullptr; }
}  // namespace sbp::device

// The schemas of the package under the name sbp_shim.
namespace {
using torch::stable::detail::StableLibrary;
using torch::stable::detail::StableTorchLibraryInit;
void define_ops(StableLibrary& m);
const StableTorchLibraryInit kDefined(StableLibrary::Kind::DEF, &define_ops, "sbp_shim", nullptr, __FILE__, __LINE__);
#undef STABLE_TORCH_LIBRARY
#define STABLE_TORCH_LIBRARY(ns, m) void define_ops(StableLibrary& m)
}  // namespace
namespace {
#include "ops.cpp"
}
