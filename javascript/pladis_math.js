// The effect of scale λ, sparsity α, temperature T and rescale φ on one row of cross-attention, for the panel's chart:
// softmax(z), α-entmax(z / T) and their blend, from logits z or from measured weights.
//
//     blend = λ · α-entmax(z / T) + (1 − λ) · softmax(z)          (PLADIS, arXiv 2503.07677)
//
// and with φ > 0 the blend times (1 − φ) + φ · ‖softmax‖ / ‖blend‖. This is what rescaling does to the output if the
// values of the tokens are orthonormal.
"use strict";

(function () {
    // One example row: the attention of a pixel inside the circle.
    const TOKENS = ["<start>", "a", "red", "circle", "left", "of",
                    "a", "blue", "square", "on", "grey", "<end>"];
    const LOGITS = [1.9, 0.1, 2.0, 2.6, 0.7, -0.2, -0.1, 1.0, 1.4, -0.3, 0.3, 0.6];

    // ---- maths -------------------------------------------------------------------------------

    function softmax(logits) {
        const top = Math.max(...logits);
        const weights = logits.map((z) => Math.exp(z - top));
        const sum = weights.reduce((a, b) => a + b, 0);
        return weights.map((w) => w / sum);
    }

    // α-entmax (Peters et al. 2019) for 1 ≤ α ≤ 2, in double precision. With the deformed exp
    //     p_i = [1 + (α − 1)(z_i − c)]_+ ^ {1 / (α − 1)}
    // Σ p_i falls as c grows and is 1 for one c between max z (where the largest p is 1) and
    // max z − ln_α(1 / n) (where it is 1 / n). Written with log1p it stays exact as α → 1.
    function entmax(logits, alpha) {
        if (!(alpha >= 1 && alpha <= 2)) throw new RangeError(`alpha ${alpha} is not in 1 to 2`);
        const a = alpha - 1;
        if (a === 0) return softmax(logits);
        const weight = (z, c) => {
            const x = a * (z - c);
            return x <= -1 ? 0 : Math.exp(Math.log1p(x) / a);
        };
        let low = Math.max(...logits);
        let high = low - Math.expm1(-a * Math.log(logits.length)) / a;
        for (let i = 0; i < 100; i++) {
            const c = (low + high) / 2;
            if (c <= low || c >= high) break;
            const sum = logits.reduce((s, z) => s + weight(z, c), 0);
            if (sum > 1) low = c; else high = c;
        }
        return logits.map((z) => weight(z, (low + high) / 2));
    }

    const norm = (row) => Math.hypot(...row);

    function rescaled(dense, blended, rescale, restOfDense = 0, restOfBlended = 0) {
        const factor = rescale === 0 ? 1
            : 1 - rescale + rescale * norm([...dense, restOfDense]) / norm([...blended, restOfBlended]);
        return { blend: blended.map((w) => factor * w), factor };
    }

    // The three rows of `logits`. `temperature` divides the sparse branch's only.
    function rows(logits, { scale, alpha, temperature = 1, rescale = 0 }) {
        const dense = softmax(logits);
        const sparse = entmax(logits.map((z) => z / temperature), alpha);
        const blended = dense.map((d, i) => scale * sparse[i] + (1 - scale) * d);
        return { softmax: dense, entmax: sparse, ...rescaled(dense, blended, rescale) };
    }

    // The three rows of weights measured at the settings `from`. The blend, and any mean of it, is linear in λ; α and T
    // stay as they were. `entmax` is null if λ changed from step to step. For φ all other keys count as one.
    function measuredRows({ plain, pladis, from }, { scale, rescale = 0 }) {
        const change = plain.map((d, i) => (pladis[i] - d) / from.scale);
        const sparse = from.schedule === "constant" ? plain.map((d, i) => d + change[i]) : null;
        const blended = plain.map((d, i) => d + scale * change[i]);
        const rest = (row) => 1 - row.reduce((a, b) => a + b, 0);
        return { softmax: plain, entmax: sparse, ...rescaled(plain, blended, rescale, rest(plain), rest(blended)) };
    }

    const ours = { softmax, entmax, rows, measuredRows, logits: LOGITS, tokens: TOKENS };
    if (typeof module !== "undefined" && module.exports) module.exports = ours;
    if (typeof window !== "undefined") window.pladis = Object.assign(window.pladis || {}, ours);
}());
