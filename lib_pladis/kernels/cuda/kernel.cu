// PLADIS cross-attention in one kernel (Kim & Sim, arXiv 2503.07677, equation 9):
//
//     O = (lambda alpha-entmax(z / t) + (1 - lambda) softmax(z)) V,    z = scale Q K^T + mask over keys
//
// A warp computes 16 queries. Their scores with all keys, at most 160, stay in its registers from Q K^T to P V. A block
// copies K and V of one head to shared memory once, and then each of its warps processes tiles of 16 queries.
//
// Layout of mma.m16n8k16: lane = 4 row + t, row 0 to 7, t 0 to 3. Of a tile of 16 queries x 8 keys a lane holds
// s[0], s[1] = columns 2t, 2t + 1 of `row` and s[2], s[3] = the same columns of row + 8. The sum of a row is the sum of
// the lane's elements, then of the four lanes of a quad. Below, index r is 0 for `row` and 1 for row + 8.
//
// The order of the head dimension within fragments is arbitrary if both factors use the same. Of every 32 elements, lane
// t takes 8 adjacent ones from 8t on, for two products; of a last 16, 4; of a last 8, 2. So Q is loaded from global
// memory, K from shared memory, and O is stored, with 16 bytes per access and without shuffles.

#include "problem.cuh"
#ifndef PLADIS_HOST
#include "machine.cuh"
#endif

INLINE float quad_sum(float x) {
  x += other_lane(x, 1);
  return x + other_lane(x, 2);
}
INLINE float quad_max(float x) {
  x = fmaxf(x, other_lane(x, 1));
  return fmaxf(x, other_lane(x, 2));
}

// The value added to a key's scores before scaling: mask / scale, HIDDEN for masked keys and beyond the last key.
INLINE float bias_of(const Arguments& a, const char* mask, int key) {
  if (key >= a.keys) return HIDDEN;
  const char* at = mask + key * a.stride_mn;
#if MASK == 1
  return *(const unsigned char*)at ? 0.f : HIDDEN;
#elif MASK == 2
  return fmaxf(from_half(*(const unsigned short*)at) * a.unscale, HIDDEN);
#elif MASK == 3
  return fmaxf(from_bits((u32) * (const unsigned short*)at << 16) * a.unscale, HIDDEN);
#else
  return fmaxf(*(const float*)at * a.unscale, HIDDEN);
#endif
}

// Copies K, V and the mask of a head to shared memory. Returns false if all keys are masked.
//
// K keeps its order, one row in K_ROW bytes. Elements within a row of V are permuted: of 32 elements (of a last 16, 8)
// lane t's 8 (4, 2) adjacent ones become columns 2t, 2t + 1 of 4 (2, 1) tiles of 8 columns.
INLINE bool stage(const Arguments& a, const char* k, const char* v, const char* mask, u32 k_at, u32 v_at, u32 bias_at) {
  for (int i = threadIdx.x; i < KEYS * D_TILES; i += 32 * WARPS) {
    const int key = i / D_TILES, piece = i % D_TILES;  // 16 bytes
    const bool inside = key < a.keys;
    copy_16(k_at + key * K_ROW + piece * 16, inside ? k + key * a.stride_kn + piece * 16 : k, inside);
    const uint4 x = inside ? global_16(v + key * a.stride_vn + piece * 16) : make_uint4(0, 0, 0, 0);
    const int tiles = piece < 4 * GROUPS ? 4 : LAST_16 && piece < 4 * GROUPS + 2 ? 2 : 1;
    const u32 words[4] = {x.x, x.y, x.z, x.w};
    const int first = piece / tiles * tiles, start = (piece - first) * 4;
#pragma unroll
    for (int n = 0; n < 4; n++) {
      const int word = start + n;
      to_shared(v_at + key * V_ROW + first * 16 + word % tiles * 16 + word / tiles * 4, words[n]);
    }
  }
  bool left = !MASK;
#if MASK
  for (int key = threadIdx.x; key < KEYS; key += 32 * WARPS) {
    const float bias = bias_of(a, mask, key);
    left |= bias > HIDDEN;
    to_shared(bias_at + key * 4, bias);
  }
#endif
  wait_for_copies();
  return any_thread(left);
}

// s = Q K^T of 16 rows; the mask is the initial value of the accumulators.
INLINE void scores(float (&s)[KEY_TILES][4], const Arguments& a, const char* const (&q)[2], u32 k_at, u32 bias_at,
                   int row, int t) {
  // A fragment alternates between both rows, but a load fetches one row. The xor with `zero` makes the compiler move
  // the elements into fragment order once, instead of before each product.
  u32 f[D / 16 + 1][4];
#pragma unroll
  for (int i = 0; i < GROUPS; i++) {
    const uint4 x = global_16(q[0] + i * 64 + t * 16), y = global_16(q[1] + i * 64 + t * 16);
    f[2 * i][0] = x.x ^ a.zero, f[2 * i][1] = y.x ^ a.zero, f[2 * i][2] = x.y ^ a.zero, f[2 * i][3] = y.y ^ a.zero;
    f[2 * i + 1][0] = x.z ^ a.zero, f[2 * i + 1][1] = y.z ^ a.zero;
    f[2 * i + 1][2] = x.w ^ a.zero, f[2 * i + 1][3] = y.w ^ a.zero;
  }
  if (LAST_16) {
    const uint2 x = global_8(q[0] + GROUPS * 64 + t * 8), y = global_8(q[1] + GROUPS * 64 + t * 8);
    f[2 * GROUPS][0] = x.x, f[2 * GROUPS][1] = y.x, f[2 * GROUPS][2] = x.y, f[2 * GROUPS][3] = y.y;
  }
  if (LAST_8) {
    f[D / 16][0] = global_4(q[0] + (D - 8) * 2 + t * 4);
    f[D / 16][1] = global_4(q[1] + (D - 8) * 2 + t * 4);
  }
#pragma unroll
  for (int j = 0; j < KEY_TILES; j++) {
    const u32 k = k_at + (8 * j + row) * K_ROW;
    s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.f;
#if MASK
    const uint2 bias = shared_8(bias_at + (8 * j + 2 * t) * 4);
    s[j][0] = s[j][2] = from_bits(bias.x);
    s[j][1] = s[j][3] = from_bits(bias.y);
#endif
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
      const uint4 x = shared_16(k + i * 64 + t * 16);
      multiply_16(s[j], f[2 * i], x.x, x.y);
      multiply_16(s[j], f[2 * i + 1], x.z, x.w);
    }
    if (LAST_16) {
      const uint2 x = shared_8(k + GROUPS * 64 + t * 8);
      multiply_16(s[j], f[2 * GROUPS], x.x, x.y);
    }
    if (LAST_8) multiply_8(s[j], f[D / 16][0], f[D / 16][1], shared_4(k + (D - 8) * 2 + t * 4));
  }
  if (!MASK) {
#pragma unroll
    for (int j = KEY_TILES - 2; j < KEY_TILES; j++) {
#pragma unroll
      for (int n = 0; n < 4; n++)
        if (8 * j + 2 * t + n % 2 >= a.keys) s[j][n] = HIDDEN;
    }
  }
}

// One step of Newton's method for a row's level = tau / slope, from sums over the row.
// mass: sum of x^beta, x = max(slope y - tau, 0), beta = 1 / (alpha - 1). derivative: sum of x^(beta - 1).
INLINE float fast_step(float mass, float derivative) {
#if SPARSEMAX
  return (mass - 1.f) * inverse_of(derivative);
#else
  // on mass^(1/4), which is closer to a line near the root than mass^(1/2)
  return (mass - mass * sqrt_of(rsqrt_of(mass))) * 2.f * inverse_of(derivative);
#endif
}
INLINE float monotone_step(float mass, float derivative) {
#if SPARSEMAX
  return (mass - 1.f) * inverse_of(derivative);
#else
  return (mass - sqrt_of(mass)) * inverse_of(derivative);
#endif
}

// level[r] = tau / slope of both rows. sum, squares: row sums of exp(z / t) and of its square.
INLINE void solve(const float (&y)[KEY_TILES][4], const float (&sum)[2], const float (&squares)[2], float (&level)[2],
                  const Arguments& a) {
  const float per_slope = inverse_of(a.slope), top = a.top * per_slope;
  float step[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float u = sqrt_of(rsqrt_of(sum[r])), v = sqrt_of(rsqrt_of(squares[r]));
    const float tau = a.guess[0] + u * (a.guess[1] + a.guess[4] * v) + v * (a.guess[2] + a.guess[3] * v);
    level[r] = fminf(tau * per_slope, top);
  }
#pragma unroll
  for (int n = 0; n < STEPS; n++) {
    // sums of m = max(y, level) and of m^2 (sparsemax: number of keys above it); keys outside the support add the level
    float first[2] = {}, second[2] = {};
#pragma unroll
    for (int j = 0; j < KEY_TILES; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float m = fmaxf(y[j][i], level[i / 2]);
        first[i / 2] += m;
        second[i / 2] += SPARSEMAX ? (y[j][i] > level[i / 2] ? 1.f : 0.f) : m * m;
      }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      first[r] = quad_sum(first[r]);
      second[r] = quad_sum(second[r]);
      const float above = first[r] - level[r] * KEYS;  // sum of max(y - level, 0)
      if (SPARSEMAX)
        step[r] = fast_step(above * a.slope, second[r] * a.slope);
      else
        step[r] = fast_step((second[r] - level[r] * (first[r] + above)) * a.slope * a.slope, above * a.slope * a.slope);
      level[r] = fminf(level[r] + step[r], top);
    }
  }
  // if any row of the warp needs them: steps that never pass the root from the left
  for (int n = 0; n < MAX_STEPS && any_lane(fmaxf(fabsf(step[0]), fabsf(step[1])) * a.slope > a.enough); n++) {
    float first[2] = {}, second[2] = {};
#pragma unroll
    for (int j = 0; j < KEY_TILES; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float x = fmaxf(y[j][i] - level[i / 2], 0.f);
        first[i / 2] += x;
        second[i / 2] += SPARSEMAX ? (x > 0.f ? 1.f : 0.f) : x * x;
      }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      first[r] = quad_sum(first[r]);
      second[r] = quad_sum(second[r]);
      if (SPARSEMAX)
        step[r] = monotone_step(first[r] * a.slope, second[r] * a.slope);
      else
        step[r] = monotone_step(second[r] * a.slope * a.slope, first[r] * a.slope * a.slope);
      level[r] += step[r];
    }
  }
}

// o = (sparse p + dense 2^y) V, sparse >= 0. Weights are rounded to half precision when they are used: a lane's elements
// of two tiles of keys are one fragment of the product.
INLINE void apply(float (&o)[D_TILES][4], const float (&y)[KEY_TILES][4], const float (&e)[KEEP ? KEY_TILES : 1][4],
                  const float (&level)[2], float slope, const float (&sparse)[2], const float (&dense)[2], u32 v_at,
                  int lane) {
  float factor[2], offset[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    factor[r] = slope * (SPARSEMAX ? sparse[r] : sqrt_of(sparse[r]));
    offset[r] = -level[r] * factor[r];
  }
#pragma unroll
  for (int n = 0; n < D_TILES; n++) o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0.f;
  const u32 first = v_at + lane % 16 * V_ROW;
#pragma unroll
  for (int j = 0; j < KEY_TILES; j += 2) {
    u32 w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float two[2];
#pragma unroll
      for (int n = 0; n < 2; n++) {
        const float z = y[j + i / 2][i % 2 * 2 + n];
        const float exponential = KEEP ? e[KEEP ? j + i / 2 : 0][i % 2 * 2 + n] : exp2_of(z);
        const float x = fmaxf(z * factor[i % 2] + offset[i % 2], 0.f);
        two[n] = (SPARSEMAX ? x : x * x) + exponential * dense[i % 2];
      }
      w[i] = pack(two[0], two[1]);
    }
#pragma unroll
    for (int n = 0; n + 1 < D_TILES; n += 2) {
      const uint4 x = four_transposed(first + 8 * j * V_ROW + (n + lane / 16) * 16);
      multiply_16(o[n], w, x.x, x.y);
      multiply_16(o[n + 1], w, x.z, x.w);
    }
    if (D_TILES % 2) {
      const uint2 x = two_transposed(first + 8 * j * V_ROW + (D_TILES - 1) * 16);
      multiply_16(o[D_TILES - 1], w, x.x, x.y);
    }
  }
}

INLINE void squared_norms(float (&norm)[2], const float (&o)[D_TILES][4]) {
  norm[0] = norm[1] = 0.f;
#pragma unroll
  for (int n = 0; n < D_TILES; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) norm[i / 2] += o[n][i] * o[n][i];
  }
  norm[0] = quad_sum(norm[0]);
  norm[1] = quad_sum(norm[1]);
}

// Stores row r of o times f at `at`, undoing the permutation of V.
INLINE void store(char* at, const float (&o)[D_TILES][4], int r, float f, int t) {
#define TWO(n) pack(o[n][2 * r] * f, o[n][2 * r + 1] * f)
#pragma unroll
  for (int i = 0; i < GROUPS; i++) {
    *(uint4*)(at + i * 64 + t * 16) = make_uint4(TWO(4 * i), TWO(4 * i + 1), TWO(4 * i + 2), TWO(4 * i + 3));
  }
  if (LAST_16) *(uint2*)(at + GROUPS * 64 + t * 8) = make_uint2(TWO(4 * GROUPS), TWO(4 * GROUPS + LAST_16));
  if (LAST_8) *(u32*)(at + (D - 8) * 2 + t * 4) = TWO(D_TILES - 1);
#undef TWO
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, MIN_BLOCKS) pladis(const Arguments a) {
  const u32 k_at = shared_start(), v_at = k_at + KEYS * K_ROW, bias_at = v_at + KEYS * V_ROW;
  const int lane = threadIdx.x % 32, row = lane / 4, t = lane % 4;
  const i64 head = blockIdx.y, batch = blockIdx.z;
  const char* k = a.k + batch * a.stride_kb + head * a.stride_kh;
  const char* v = a.v + batch * a.stride_vb + head * a.stride_vh;
  const char* mask = a.mask + batch * a.stride_mb + head * a.stride_mh;
  const bool some_key = stage(a, k, v, mask, k_at, v_at, bias_at);
  const char* q_start = a.q + batch * a.stride_qb + head * a.stride_qh;
  char* o_start = a.o + batch * a.stride_ob + head * a.stride_oh;
  float* lse = a.lse + (batch * gridDim.y + head) * a.queries;

  for (int first = (blockIdx.x * WARPS + threadIdx.x / 32) * 16; first < a.queries; first += gridDim.x * WARPS * 16) {
    const int rows[2] = {first + row, first + row + 8};
    float o[D_TILES][4], row_factor[2] = {};
    if (MASK && !some_key) {
#pragma unroll
      for (int n = 0; n < D_TILES; n++) o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0.f;
#pragma unroll
      for (int r = 0; r < 2; r++)
        if (LSE && t == 0 && rows[r] < a.queries) lse[rows[r]] = -from_bits(0x7f800000u);
    } else {
      float y[KEY_TILES][4], e[KEEP ? KEY_TILES : 1][4];
      const char* const q[2] = {q_start + min(rows[0], a.queries - 1) * a.stride_qm,
                                q_start + min(rows[1], a.queries - 1) * a.stride_qm};
      scores(y, a, q, k_at, bias_at, row, t);

      float high[2] = {y[0][0], y[0][2]}, sum[2] = {}, tempered[2] = {}, squares[2] = {};
#pragma unroll
      for (int j = 0; j < KEY_TILES; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) high[i / 2] = fmaxf(high[i / 2], y[j][i]);
      }
      high[0] = quad_max(high[0]) * a.to_bits;
      high[1] = quad_max(high[1]) * a.to_bits;
#pragma unroll
      for (int j = 0; j < KEY_TILES; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          y[j][i] = y[j][i] * a.to_bits - high[i / 2];
          const float x = exp2_of(y[j][i]);
          if (KEEP) e[KEEP ? j : 0][i] = x;
          sum[i / 2] += x;
          const float other = TEMPERED ? exp2_of(y[j][i] * a.inverse_temperature) : x;
          tempered[i / 2] += other;
          squares[i / 2] += other * other;
        }
      }
      float level[2], sparse[2], dense[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        sum[r] = quad_sum(sum[r]);
        tempered[r] = TEMPERED ? quad_sum(tempered[r]) : sum[r];
        squares[r] = quad_sum(squares[r]);
        if (LSE && t == 0 && rows[r] < a.queries) lse[rows[r]] = (high[r] + log2_of(sum[r])) * LN2;
      }
      solve(y, tempered, squares, level, a);

      // (sparse p sum + dense e) / sum, divided after P V; with these factors fp16 can hold the weights for any lambda
#pragma unroll
      for (int r = 0; r < 2; r++) {
        sparse[r] = RESCALE ? 0.f : a.sparse * sum[r];
        dense[r] = RESCALE ? 1.f : a.dense;
        row_factor[r] = a.result * inverse_of(sum[r]);
      }
      float plain_norm[2], norm[2];
#pragma unroll 1
      for (int pass = 0; pass < PASSES; pass++) {
        apply(o, y, e, level, a.slope, sparse, dense, v_at, lane);
        if (!RESCALE) break;
        squared_norms(norm, o);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          if (pass == 0) {
            plain_norm[r] = norm[r];
            sparse[r] = a.sparse * sum[r];
            dense[r] = a.dense;
          } else if (pass == 1) {
            // |dense output| / |output|, both before the division by sum; |a.result| is at least 1
            const float ratio = sqrt_of(plain_norm[r] * inverse_of(fmaxf(norm[r], 1e-30f))) * inverse_of(fabsf(a.result));
            const float f = 1.f - a.rescale + a.rescale * ratio;
            if (!CHANGE) row_factor[r] *= f;
            sparse[r] *= f;
            dense[r] = dense[r] * f - inverse_of(a.result);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
      if (rows[r] < a.queries) store(o_start + rows[r] * a.stride_om, o, r, row_factor[r], t);
  }
}
