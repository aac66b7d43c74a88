// kernel.cu on a CPU, for the tests: a block's threads are fibers, and what crosses threads waits until all have come.
//
// Half and bf16 arithmetic, fragments' layouts and addresses are as the PTX manual says. An access outside of shared
// memory, or one that is not aligned, aborts.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define PLADIS_HOST
#define __global__
#define __device__
#define __launch_bounds__(...)
#define INLINE static inline

typedef unsigned int u32_;
struct uint2 { u32_ x, y; };
struct uint4 { u32_ x, y, z, w; };
static uint2 make_uint2(u32_ x, u32_ y) { return {x, y}; }
static uint4 make_uint4(u32_ x, u32_ y, u32_ z, u32_ w) { return {x, y, z, w}; }
struct Place { int x, y, z; };
static Place threadIdx, blockIdx, gridDim;
static long long min(long long a, long long b) { return a < b ? a : b; }

// Fibers ----------------------------------------------------------------------------------------------------------

constexpr int THREADS = 32 * WARPS, STACK = 1 << 18;

static ucontext_t scheduler, fibers[THREADS];
static bool ended[THREADS];
static std::vector<char> stacks(THREADS* STACK);
static u32_ given[2][THREADS][8];
static int met[THREADS];

// What each of a group's threads gives, once all have given it. Threads may be one meeting apart, hence two boxes.
static u32_ (*meet(const u32_* mine, int count, int group))[8] {
  const int me = threadIdx.x, first = me / group * group, box = met[me] % 2;
  memcpy(given[box][me], mine, 4 * count);
  const int now = ++met[me];
  while (!std::all_of(met + first, met + first + group, [&](int other) { return other >= now; })) {
    swapcontext(&fibers[me], &scheduler);
    threadIdx.x = me;
  }
  return given[box] + first;
}

// Numbers ---------------------------------------------------------------------------------------------------------

template <class To, class From>
static To bits(From x) {
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}
static float from_bits(u32_ x) { return bits<float>(x); }
static float flushed(float x) { return std::fabs(x) < 1.17549435e-38f ? std::copysign(0.f, x) : x; }
static float exp2_of(float x) { return flushed(exp2f(flushed(x))); }
static float log2_of(float x) { return log2f(flushed(x)); }
static float rsqrt_of(float x) { return 1.f / sqrtf(flushed(x)); }
static float sqrt_of(float x) { return sqrtf(flushed(x)); }
static float inverse_of(float x) { return flushed(1.f / flushed(x)); }
static float from_half(unsigned short x) { return bits<_Float16>(x); }
static float wide(unsigned short x) { return BF16 ? from_bits((u32_)x << 16) : from_half(x); }
static unsigned short narrow(float x) {
  if (!BF16) return bits<unsigned short>((_Float16)x);
  const u32_ raw = bits<u32_>(x);
  return (raw + (raw >> 16 & 1) + 0x7fff) >> 16;
}
static u32_ pack(float low, float high) { return narrow(low) | (u32_)narrow(high) << 16; }

// Other threads ---------------------------------------------------------------------------------------------------

static float other_lane(float x, int mask) {
  const u32_ mine = bits<u32_>(x);
  return from_bits(meet(&mine, 1, 32)[threadIdx.x % 32 ^ mask][0]);
}
static bool any(bool x, int group) {
  const u32_ mine = x;
  const auto all = meet(&mine, 1, group);
  return std::any_of(all, all + group, [](const u32_* each) { return each[0]; });
}
static bool any_lane(bool x) { return any(x, 32); }
static bool any_thread(bool x) { return any(x, THREADS); }

// c += a b, a of 16 rows. Lane 4 row + t has of each 8 columns of a: 2t, 2t + 1 of `row`, then of row + 8; of b rows
// 2t, 2t + 1 of column `row`.
static void multiply(float (&c)[4], const u32_* mine, int eights) {
  const auto lanes = meet(mine, 3 * eights, 32);
  const int row = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; i++) {
    const int column = 2 * t + i % 2;
    double sum = c[i];
    for (int k = 0; k < 8 * eights; k++) {
      const u32_ a = lanes[4 * row + k % 8 / 2][k / 8 * 2 + i / 2], b = lanes[4 * column + k % 8 / 2][2 * eights + k / 8];
      sum += (double)wide(a >> 16 * (k % 2)) * wide(b >> 16 * (k % 2));
    }
    c[i] = (float)sum;
  }
}
static void multiply_8(float (&c)[4], u32_ a0, u32_ a1, u32_ b) {
  const u32_ mine[3] = {a0, a1, b};
  multiply(c, mine, 1);
}
static void multiply_16(float (&c)[4], const u32_ (&a)[4], u32_ b0, u32_ b1) {
  const u32_ mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  multiply(c, mine, 2);
}

// Memory ----------------------------------------------------------------------------------------------------------

static std::vector<char> shared_memory;
static char* shared(u32_ at, u32_ size) {
  if (at % size || at + size > shared_memory.size()) {
    fprintf(stderr, "shared memory: %u bytes at %u of %zu\n", size, at, shared_memory.size());
    abort();
  }
  return shared_memory.data() + at;
}
template <class X>
static X read(const void* at) {
  if ((uintptr_t)at % sizeof(X)) {
    fprintf(stderr, "global memory: %zu bytes are not aligned\n", sizeof(X));
    abort();
  }
  X x;
  memcpy(&x, at, sizeof x);
  return x;
}
static u32_ shared_start() { return 0; }
static uint4 shared_16(u32_ at) { return read<uint4>(shared(at, 16)); }
static uint2 shared_8(u32_ at) { return read<uint2>(shared(at, 8)); }
static u32_ shared_4(u32_ at) { return read<u32_>(shared(at, 4)); }
static void to_shared(u32_ at, u32_ x) { memcpy(shared(at, 4), &x, 4); }
static void to_shared(u32_ at, float x) { memcpy(shared(at, 4), &x, 4); }
static uint4 global_16(const char* at) { return read<uint4>(at); }
static uint2 global_8(const char* at) { return read<uint2>(at); }
static u32_ global_4(const char* at) { return read<u32_>(at); }
static void copy_16(u32_ at, const char* from, bool inside) {
  const uint4 x = inside ? global_16(from) : uint4{};
  memcpy(shared(at, 16), &x, 16);
}
static void wait_for_copies() {}

// Each lane gives the address of a row of 16 bytes, lanes 8n to 8n + 7 matrix n. Lane 4 row + t gets of each matrix
// rows 2t, 2t + 1 of column `row`.
static void transposed(u32_ at, u32_* x, int matrices) {
  const auto lanes = meet(&at, 1, 32);
  const int row = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (int n = 0; n < matrices; n++) {
    const auto number = [&](int k) { return read<unsigned short>(shared(lanes[8 * n + k][0], 16) + 2 * row); };
    x[n] = number(2 * t) | (u32_)number(2 * t + 1) << 16;
  }
}
static uint4 four_transposed(u32_ at) {
  uint4 x;
  transposed(at, &x.x, 4);
  return x;
}
static uint2 two_transposed(u32_ at) {
  uint2 x;
  transposed(at, &x.x, 2);
  return x;
}

#include "kernel.cu"

static Arguments arguments;
static void run_thread(int me) {
  threadIdx = {me, 0, 0};
  pladis(arguments);
  ended[me] = true;
  swapcontext(&fibers[me], &scheduler);
}

extern "C" int arguments_size() { return sizeof(Arguments); }

extern "C" void run(const Arguments* given_arguments, const int* grid, int shared_bytes) {
  arguments = *given_arguments;
  gridDim = {grid[0], grid[1], grid[2]};
  for (int block = 0; block < grid[0] * grid[1] * grid[2]; block++) {
    blockIdx = {block % grid[0], block / grid[0] % grid[1], block / grid[0] / grid[1]};
    shared_memory.assign(shared_bytes, 0x7e);
    std::fill(met, met + THREADS, 0);
    std::fill(ended, ended + THREADS, false);
    for (int i = 0; i < THREADS; i++) {
      getcontext(&fibers[i]);
      fibers[i].uc_stack.ss_sp = &stacks[(size_t)i * STACK];
      fibers[i].uc_stack.ss_size = STACK;
      makecontext(&fibers[i], (void (*)())run_thread, 1, i);
    }
    while (!std::all_of(ended, ended + THREADS, [](bool x) { return x; })) {
      for (int i = 0; i < THREADS; i++) {
        threadIdx.x = i;
        if (!ended[i]) swapcontext(&scheduler, &fibers[i]);
      }
    }
  }
}
