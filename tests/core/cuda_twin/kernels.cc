// Blocks of threads on one host thread. A thread that reaches __syncthreads parks on a stack of its
// own until all have; the threads run in order in between, so that a missing barrier shows.
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>

#include "twin.h"

namespace {

constexpr std::size_t kStack = 1 << 16;

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[kStack]};
  unsigned thread = 0;
  bool parked = false, finished = false;
};

struct RunningBlock {
  const std::function<void()>* body;
  unsigned threads, next = 0;
  ucontext_t scheduler{};
  Fiber* current = nullptr;
};

thread_local RunningBlock* running = nullptr;

// Runs thread after thread until one of them parks; that one ends with itself.
void fiber_main() {
  Fiber* const self = running->current;
  do {
    self->thread = running->next++;
    threadIdx = dim3(self->thread);
    (*running->body)();
  } while (!self->parked && running->next < running->threads);
  self->finished = true;
  swapcontext(&self->context, &running->scheduler);
}

void resume(RunningBlock& block, Fiber& fiber) {
  block.current = &fiber;
  threadIdx = dim3(fiber.thread);
  swapcontext(&block.scheduler, &fiber.context);
}

void run_block(const std::function<void()>& body, unsigned threads) {
  RunningBlock block{&body, threads};
  running = &block;
  std::vector<std::unique_ptr<Fiber>> parked;
  while (block.next < threads) {
    auto fiber = std::make_unique<Fiber>();
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStack;
    makecontext(&fiber->context, fiber_main, 0);
    resume(block, *fiber);
    if (!fiber->finished) parked.push_back(std::move(fiber));
  }
  if (!parked.empty() && parked.size() != threads) {
    std::fputs("cuda_twin: some threads of a block passed by __syncthreads\n", stderr);
    std::abort();
  }
  for (bool more = !parked.empty(); more;) {
    more = false;
    for (auto fiber = parked.rbegin(); fiber != parked.rend(); ++fiber) {
      if ((*fiber)->finished) continue;
      resume(block, **fiber);
      more = more || !(*fiber)->finished;
    }
  }
  running = nullptr;
}

}  // namespace

void __syncthreads() {
  running->current->parked = true;
  swapcontext(&running->current->context, &running->scheduler);
}

cudaError_t twin_launch(const cudaLaunchConfig_t& config, std::function<void()> thread) {
  const twin::Lock lock;
  const TwinStream* const stream = twin::find(config.stream);
  if (stream == nullptr || stream->device != twin::device()) {
    return twin::note(cudaErrorInvalidResourceHandle);
  }
  if (config.gridDim.x == 0 || config.blockDim.x > 1024) return twin::note(cudaErrorInvalidValue);
  return twin::note(twin::enqueue(config.stream, [config, thread] {
    for (unsigned block = 0; block < config.gridDim.x; ++block) {
      blockIdx = dim3(block);
      run_block(thread, config.blockDim.x);
    }
  }));
}
