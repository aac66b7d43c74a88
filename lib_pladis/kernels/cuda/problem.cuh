// What kernel.cu is compiled for, and what it is given.
//
// Compiled with -D, see `kernel.constants`:
//     D           head dimension, a multiple of 8
//     KEY_TILES   tiles of 8 keys, an even number
//     BF16        0 for fp16
//     SPARSEMAX   1: alpha is 2, 0: alpha is 1.5
//     MASK        0 none, 1 bool, 2 fp16, 3 bf16, 4 fp32
//     TEMPERED    t is not 1
//     RESCALE     each row is brought towards the norm of the dense one
//     CHANGE      the dense result is taken off (without RESCALE this is done by `dense` alone)
//     LSE         each row's log-sum-exp is wanted
//     WARPS, MIN_BLOCKS   a block's warps; blocks that must fit a multiprocessor's registers

typedef unsigned int u32;
typedef long long i64;

constexpr int KEYS = 8 * KEY_TILES;
constexpr int D_TILES = D / 8;
constexpr int GROUPS = D / 32;                // of 32 numbers of the head dimension
constexpr bool LAST_16 = D % 32 >= 16, LAST_8 = D % 16 == 8;
constexpr bool KEEP = KEY_TILES <= 10 && !RESCALE;  // whether registers hold exp(z) beside z
constexpr int PASSES = RESCALE ? CHANGE ? 3 : 2 : 1;  // of the second product: dense, blended, both with the row's factor
constexpr int K_ROW = (2 * D + 63) / 128 * 128 + 64;  // bytes: 64 more than a multiple of 128. A quarter of a warp
                                              // reads 64 bytes of two rows: they lie in different halves of the banks.
constexpr int V_ROW = 2 * D + 16 * (1 - D_TILES % 2);  // an odd multiple of 16: eight rows start in different banks
constexpr int STEPS = SPARSEMAX ? 3 : 2;      // of Newton's method, taken without a look at their result
constexpr int MAX_STEPS = 60;
constexpr float HIDDEN = -1e30f;              // a score that no key has; finite, so that 0 times it is 0
constexpr float LN2 = 0.6931471805599453f;

static_assert(D % 8 == 0 && KEY_TILES % 2 == 0, "D is a multiple of 8, KEY_TILES of 2");

// Strides in bytes. y stands for log2(e) (z - max z) of a row, from here on.
struct Arguments {
  const char *q, *k, *v, *mask;
  char* o;
  float* lse;                 // (batch, heads, queries)
  i64 stride_qb, stride_qh, stride_qm, stride_kb, stride_kh, stride_kn, stride_vb, stride_vh, stride_vn;
  i64 stride_ob, stride_oh, stride_om, stride_mb, stride_mh, stride_mn;
  int queries, keys;
  float to_bits, unscale;     // scale log2(e); 1 / scale
  float sparse, dense, result;  // O = result (sparse p + dense softmax) V, sparse >= 0
  float rescale;              // phi
  float inverse_temperature;
  float slope;                // (alpha - 1) / (t log2(e)): alpha-entmax is max(slope y - tau, 0)^(1 / (alpha - 1))
  float guess[5];             // of tau: 1, a, b, b^2, a b times these, a = (sum e^y)^(-1/4), b = (sum e^2y)^(-1/4)
  float top;                  // tau of a row of equal keys: none is larger
  float enough;               // a step of tau that need not be followed by another
  u32 zero;                   // 0, which the compiler does not know
};
