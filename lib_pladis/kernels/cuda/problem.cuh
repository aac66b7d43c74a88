// The compile-time constants of kernel.cu, and its argument.
//
// Macros, from `kernel.constants`:
//     D           head dimension, a multiple of 8
//     KEY_TILES   tiles of 8 keys, an even number
//     BF16        0 for fp16
//     SPARSEMAX   1: alpha is 2, 0: alpha is 1.5
//     MASK        0 none, 1 bool, 2 fp16, 3 bf16, 4 fp32
//     TEMPERED    t is not 1
//     RESCALE     each row is scaled towards the norm of the dense output
//     CHANGE      the dense output is subtracted (without RESCALE, `dense` does this)
//     LSE         each row's log-sum-exp is stored
//     WARPS, MIN_BLOCKS   warps of a block; blocks per multiprocessor that the registers must suffice for

typedef unsigned int u32;
typedef long long i64;

constexpr int KEYS = 8 * KEY_TILES;
constexpr int D_TILES = D / 8;
constexpr int GROUPS = D / 32;                // of 32 elements of the head dimension
constexpr bool LAST_16 = D % 32 >= 16, LAST_8 = D % 16 == 8;
constexpr bool KEEP = KEY_TILES <= 10 && !RESCALE;  // whether registers hold exp(z) beside z
constexpr int PASSES = RESCALE ? CHANGE ? 3 : 2 : 1;  // over P V: dense, blended, both with the row's factor
constexpr int K_ROW = (2 * D + 63) / 128 * 128 + 64;  // bytes: 64 more than a multiple of 128. A quarter of a warp
                                              // reads 64 bytes of two rows: they lie in different halves of the banks.
constexpr int V_ROW = 2 * D + 16 * (1 - D_TILES % 2);  // an odd multiple of 16: eight rows start in different banks
constexpr int STEPS = SPARSEMAX ? 3 : 2;      // Newton steps taken without checking
constexpr int MAX_STEPS = 60;
constexpr float HIDDEN = -1e30f;              // the score of a masked key; finite, so that 0 times it is 0
constexpr float LN2 = 0.6931471805599453f;

static_assert(D % 8 == 0 && KEY_TILES % 2 == 0, "D is a multiple of 8, KEY_TILES of 2");

// Strides are in bytes. Below, y is log2(e) (z - max z) of a row.
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
  float guess[5];             // coefficients of the first tau: of 1, a, b, b^2, a b; a = (sum e^(z/t))^(-1/4),
                              // b = (sum e^(2z/t))^(-1/4)
  float top;                  // largest tau: that of a row of equal keys
  float enough;               // size of a step of tau after which none is needed
  u32 zero;                   // 0, unknown to the compiler
};
