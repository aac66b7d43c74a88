// The live curve of the PLADIS panel: what scale λ, sparsity α, temperature T and rescale φ do to one
// row of cross-attention. Bars of softmax(z), α-entmax(z / T) and the blend, for a fixed row of logits z.
//
//     blend = λ · α-entmax(z / T) + (1 − λ) · softmax(z)          (PLADIS, arXiv 2503.07677)
//
// and with φ > 0 the blend times (1 − φ) + φ · ‖softmax‖ / ‖blend‖, as rescaling does it to the output
// where every token's value is a direction of its own.
"use strict";

(function () {
    // One row: the keys a pixel inside the circle looks at, strongest first on its own words.
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

    // The three rows. `temperature` divides the sparse branch's logits only.
    function rows(logits, { scale, alpha, temperature = 1, rescale = 0 }) {
        const dense = softmax(logits);
        const sparse = entmax(logits.map((z) => z / temperature), alpha);
        const blended = dense.map((d, i) => scale * sparse[i] + (1 - scale) * d);
        const factor = rescale === 0 ? 1 : 1 - rescale + rescale * norm(dense) / norm(blended);
        return { softmax: dense, entmax: sparse, blend: blended.map((w) => factor * w), factor };
    }

    function blend(logits, scale, alpha, temperature = 1, rescale = 0) {
        return rows(logits, { scale, alpha, temperature, rescale }).blend;
    }

    // A text in the page's language, with {names} filled in: the web UI's own table of translations.
    function translated(text, values = {}) {
        const table = (typeof window !== "undefined" && window.localization) || {};
        return (table[text] || text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
    }
    const t = translated;

    const ours = { softmax, entmax, blend, logits: LOGITS, tokens: TOKENS, translated };
    if (typeof module !== "undefined" && module.exports) module.exports = ours;
    if (typeof window === "undefined") return;
    window.pladis = Object.assign(window.pladis || {}, ours);

    // ---- drawing -----------------------------------------------------------------------------

    const HEIGHT = 160;
    const MARGIN = { left: 32, right: 10, top: 12 };
    const SERIES = ["softmax", "entmax", "blend"];
    const legend = () => [
        ["softmax", t("plain attention (softmax)")],
        ["entmax", t("sparse attention (α-entmax)")],
        ["blend", t("what PLADIS makes of them")],
        ["negative", t("below 0")],
    ];

    const decimal = (x, digits = 2) => {
        const text = Math.abs(x).toFixed(digits);
        return x < 0 && Number(text) !== 0 ? `−${text}` : text;
    };

    function element(tag, attributes = {}, ...children) {
        const namespace = ["div", "span"].includes(tag)
            ? "http://www.w3.org/1999/xhtml" : "http://www.w3.org/2000/svg";
        const node = document.createElementNS(namespace, tag);
        for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
        node.append(...children);
        return node;
    }

    // Ticks of a round step, at most eight, that enclose all values and zero.
    function ticks(values) {
        let low = Math.min(0, ...values);
        const high = Math.max(0, ...values);
        if (low < 0) low -= 0.06 * (high - low); // room for the number under a bar
        const step = [0.1, 0.2, 0.5, 1, 2].find((s) => (high - low) / s <= 6) || 5;
        const digits = step < 1 ? 1 : 0;
        const marks = [];
        for (let k = Math.floor(low / step); k < high / step + 1; k++) marks.push(k * step);
        return { marks, digits };
    }

    function summary({ scale, alpha, temperature, rescale }, weights) {
        const negative = weights.blend.filter((w) => w < -1e-9).length;
        const off = weights.blend.every((weight, i) => Math.abs(weight - weights.softmax[i]) < 1e-12);
        const set = [`λ = ${decimal(scale)}`, `α = ${decimal(alpha)}`, `T = ${decimal(temperature)}`];
        if (rescale) set.push(`φ = ${decimal(rescale)}`);
        const parts = [
            set.join(", "),
            t("{kept} of {all} tokens kept", {
                kept: weights.entmax.filter((w) => w > 0).length, all: LOGITS.length }),
            off ? t("no change (off)") : t("{count} pushed below 0", { count: negative }),
            t("sum {sum}", { sum: decimal(weights.blend.reduce((a, b) => a + b, 0)) }),
        ];
        if (rescale) parts.push(t("brought back to length × {factor}", { factor: decimal(weights.factor) }));
        return parts.join(" · ");
    }

    // The keys whose number is written out: the largest first, none over another.
    function labelled(values, x, y) {
        const order = [...values.keys()].sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
        const kept = [];
        for (const i of order) {
            const clear = (j) => Math.abs(x(i) - x(j)) > 30 || Math.abs(y(i) - y(j)) > 9;
            if (kept.every(clear)) kept.push(i);
        }
        return new Set(kept);
    }

    function chart(weights, width, text) {
        const numbers = TOKENS.map((token, i) => `${token} ${SERIES
            .map((name) => `${name} ${decimal(weights[name][i])}`).join(", ")}`);
        const svg = element("svg", {
            role: "img", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`,
            "aria-label": `${t("Attention over an example prompt.")} ${text}. ${numbers.join("; ")}.`,
        });
        const { left, top } = MARGIN;
        const right = width - MARGIN.right;
        const group = (right - left) / TOKENS.length;
        const narrow = group < 40; // slanted token labels
        const bottom = HEIGHT - (narrow ? 42 : 20);

        const { marks, digits } = ticks(SERIES.flatMap((name) => weights[name]));
        const [lowest, highest] = [marks[0], marks[marks.length - 1]];
        const y = (value) => top + (bottom - top) * (highest - value) / (highest - lowest);

        svg.append(element("rect", {
            class: "pladis-below", x: left, width: right - left,
            y: y(0), height: bottom - y(0),
        }));
        for (const mark of marks) {
            const zero = Math.abs(mark) < 1e-9;
            svg.append(
                element("line", { class: zero ? "pladis-zero" : "pladis-grid",
                    x1: left, x2: right, y1: y(mark), y2: y(mark) }),
                element("text", { class: "pladis-tick", x: left - 5, y: y(mark) + 3.5,
                    "text-anchor": "end" }, zero ? "0" : decimal(mark, digits)),
            );
        }

        svg.append(element("text", { class: "pladis-note", x: right, y: top + 12,
            "text-anchor": "end" }, narrow ? t("a pixel in the circle") : t("example: where a pixel in the circle looks")));

        const bar = Math.min(18, group * 0.86 / SERIES.length);
        const centre = (i) => left + group * (i + 0.5);
        const numberY = (i) => y(weights.blend[i]) + (weights.blend[i] < 0 ? 10 : -3);
        const shown = labelled(weights.blend, centre, numberY);
        const labels = [];
        TOKENS.forEach((token, i) => {
            const middle = centre(i);
            const bars = SERIES.map((name, k) => {
                const value = weights[name][i];
                const negative = value < 0 ? " pladis-negative" : "";
                return element("rect", {
                    class: `pladis-bar pladis-${name}${negative}`,
                    "data-series": name, "data-value": value,
                    x: middle + (k - 1.5) * bar, width: bar - 1,
                    y: y(Math.max(value, 0)), height: Math.abs(y(value) - y(0)),
                });
            });
            const value = weights.blend[i];
            const number = element("text", { class: "pladis-value", x: middle + bar,
                y: numberY(i), "text-anchor": "middle" }, value === 0 ? "0" : decimal(value));
            const x = narrow ? middle + 6 : middle;
            const name = element("text", {
                class: "pladis-token", x, y: bottom + 14,
                "text-anchor": narrow ? "end" : "middle",
                ...(narrow && { transform: `rotate(-40 ${x} ${bottom + 10})` }),
            }, token);
            const hint = element("title", {}, numbers[i]);
            svg.append(element("g", {}, hint, ...bars, name));
            if (shown.has(i)) labels.push(number);
        });
        svg.append(...labels); // over all bars
        return svg;
    }

    function draw(box, settings, width) {
        const weights = rows(LOGITS, settings);
        const text = summary(settings, weights);
        box.replaceChildren(
            element("div", { class: "pladis-legend", "aria-hidden": "true" },
                ...legend().map(([name, label]) => element("span", {},
                    element("span", { class: `pladis-chip pladis-${name}` }), label))),
            chart(weights, width, text),
            element("div", { class: "pladis-summary" }, text),
        );
    }

    window.pladis.draw = draw;

    // ---- following the sliders ---------------------------------------------------------------

    const state = {};
    for (const tab of ["txt2img", "img2img"]) {
        state[tab] = {
            settings: { scale: 2, alpha: 1.5, temperature: 1, rescale: 0 }, drawn: "", facts: null,
        };
    }

    const root = () => (typeof gradioApp === "function" ? gradioApp() : document);

    // What the panel says of its settings; see lib_pladis/webui/page.py.
    function facts(tab) {
        if (!state[tab].facts) {
            const place = root().querySelector(`#pladis_${tab}_curve`);
            if (place) state[tab].facts = JSON.parse(place.dataset.facts);
        }
        return state[tab].facts;
    }

    // Takes each value that is a number in its range; an empty or odd box leaves the last one.
    function read(tab, settings) {
        for (const [name, [low, high]] of Object.entries(facts(tab).ranges)) {
            const at = `#pladis_${tab}_${name} input`;
            const input = root().querySelector(`${at}[type=number]`) || root().querySelector(at);
            const value = input ? Number.parseFloat(input.value) : NaN;
            if (value >= low && value <= high) settings[name] = value;
        }
    }

    function refresh() {
        for (const [tab, { settings, drawn }] of Object.entries(state)) {
            if (!facts(tab) || document.hidden) continue;
            const box = root().querySelector(`#pladis_${tab}_curve .pladis-curve`);
            if (!box.clientWidth) continue; // not in sight
            read(tab, settings);
            const width = Math.max(260, box.clientWidth);
            const wanted = JSON.stringify([settings, width]);
            if (wanted === drawn && box.querySelector("svg")) continue;
            draw(box, settings, width);
            state[tab].drawn = wanted;
        }
    }

    // ---- the page ----------------------------------------------------------------------------

    // Typing and dragging raise input events; paste, presets and a resize are seen by the timer.
    function start() {
        document.addEventListener("input", (event) => {
            const inPanel = (node) => String(node.id || "").startsWith("pladis_");
            if (event.composedPath().some(inPanel)) requestAnimationFrame(refresh);
        }, true);
        setInterval(refresh, 200);
        refresh();
    }

    if (typeof onAfterUiUpdate === "function") onAfterUiUpdate(refresh);
    if (typeof onUiLoaded === "function") onUiLoaded(start);
    else if (document.readyState !== "loading") start();
    else document.addEventListener("DOMContentLoaded", start);
}());
