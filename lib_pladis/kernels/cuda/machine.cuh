// Device functions of kernel.cu in PTX: arithmetic, memory, other lanes and tensor cores.
// tests/unit/cuda_host.cpp implements the same for a CPU.
#define INLINE __device__ __forceinline__
#if BF16
#define TYPE "bf16"
#else
#define TYPE "f16"
#endif

INLINE float exp2_of(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float log2_of(float x) { float y; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float rsqrt_of(float x) { float y; asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float sqrt_of(float x) { float y; asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float inverse_of(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float from_half(unsigned short x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x)); return y; }
INLINE float from_bits(u32 x) { return __uint_as_float(x); }
INLINE float other_lane(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
INLINE bool any_lane(bool x) { return __any_sync(~0u, x); }
INLINE bool any_thread(bool x) { return __syncthreads_or(x); }
INLINE uint4 global_16(const char* at) { return __ldg((const uint4*)at); }
INLINE uint2 global_8(const char* at) { return __ldg((const uint2*)at); }
INLINE u32 global_4(const char* at) { return __ldg((const u32*)at); }

INLINE u32 shared_start() {
  extern __shared__ uint4 dynamic[];
  return (u32)__cvta_generic_to_shared(dynamic);
}
INLINE uint4 shared_16(u32 at) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(at));
  return x;
}
INLINE uint2 shared_8(u32 at) {
  uint2 x;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(at));
  return x;
}
INLINE u32 shared_4(u32 at) { u32 x; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(at)); return x; }
INLINE void to_shared(u32 at, u32 x) { asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(x) : "memory"); }
INLINE void to_shared(u32 at, float x) { asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(x) : "memory"); }

// 16 bytes from global to shared memory, or zeros
INLINE void copy_16(u32 at, const char* from, bool inside) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(inside ? 16 : 0) : "memory");
#else
  uint4 x = inside ? global_16(from) : make_uint4(0, 0, 0, 0);
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
#endif
}
INLINE void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Two numbers rounded to half precision in one register, the first in the low half
INLINE u32 pack(float low, float high) {
  u32 x;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn." TYPE "x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
#else
  asm("{.reg .b16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b};}" : "=r"(x) : "f"(low), "f"(high));
#endif
  return x;
}

// c += a b of 16 x 8 by 8 x 8
INLINE void multiply_8(float (&c)[4], u32 a0, u32 a1, u32 b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(b));
}
// c += a b of 16 x 16 by 16 x 8
INLINE void multiply_16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  multiply_8(c, a[0], a[1], b0);
  multiply_8(c, a[2], a[3], b1);
#endif
}

// Transposed 8 x 8 matrices from shared memory; each lane passes the address of a row of 16 bytes
INLINE uint4 four_transposed(u32 row) {
  uint4 x;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(row));
  return x;
}
INLINE uint2 two_transposed(u32 row) {
  uint2 x;
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(row));
  return x;
}
