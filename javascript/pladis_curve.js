// The panel's chart: bars of plain, sparse and blended attention for the row of pladis_row.js at the current settings.
// Elements are created once; moving a slider only changes their attributes.
"use strict";

(function () {
    const PLOT = { wide: 128, narrow: 106 }; // height of the bars in pixels
    const LETTER = 6.2; // width of a letter in pixels
    const NARROWEST = 200; // pixels; a narrower box scrolls
    const SLANT = 40; // degrees, for names that do not fit side by side
    const MARGIN = { left: 32, right: 10, top: 12 };
    const SERIES = ["softmax", "entmax", "blend"];
    const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];
    const AS_IT_IS = "\u2060"; // before a word of the prompt, so that the web UI does not translate it

    const { TABS, find, t, element, drawing, facts, values, on } = window.pladis;

    const decimal = (x, digits = 2) => {
        const text = Math.abs(x).toFixed(digits);
        return x < 0 && Number(text) !== 0 ? `−${text}` : text;
    };

    // ---- texts -------------------------------------------------------------------------------

    const legend = (series) => [
        ["softmax", t("plain attention (softmax)")],
        ["entmax", t("sparse attention (α-entmax)")],
        ["blend", t("PLADIS (the blend)")],
        ["negative", t("below 0")],
    ].filter(([name]) => name === "negative" || series.includes(name));

    // What the bars show: an example, example weights for the prompt's words, or measured weights.
    function about(row, { alpha, temperature }) {
        if (row.kind === "example") return t("Example: the attention of a pixel in the circle. Your prompt's words will appear here.");
        const some = row.shown < row.all
            ? ` ${t("Shown: {shown} of {all} words.", { shown: row.shown, all: row.all })}` : "";
        if (row.kind === "words") {
            return t("Example weights for your words; “Look inside” shows the real ones.") + some;
        }
        const { from, word } = row;
        const real = t("Measured in this picture, at the point that attends most to “{word}” (mean over steps, layers and heads; α {alpha}).", {
            word, alpha: Number(from.alpha.toFixed(3)) });
        const same = Math.abs(from.alpha - alpha) < 1e-6 && Math.abs(from.temperature - temperature) < 1e-6;
        return real + some + (same ? "" : ` ${t("The chart follows λ and φ; for another α or T, generate again.")}`);
    }

    const total = (weights) => weights.reduce((a, b) => a + b, 0);

    function summary(row, settings, weights) {
        const { scale, rescale } = settings;
        const { alpha, temperature } = row.from || settings;
        const negative = weights.blend.filter((w) => w < -1e-9).length;
        const off = weights.blend.every((weight, i) => Math.abs(weight - weights.softmax[i]) < 1e-12);
        const set = [`λ = ${decimal(scale)}`, `α = ${decimal(alpha)}`, `T = ${decimal(temperature)}`];
        if (rescale) set.push(`φ = ${decimal(rescale)}`);
        const parts = [set.join(", ")];
        if (row.kind !== "measured") {
            parts.push(t("{kept} of {all} tokens kept", {
                kept: weights.entmax.filter((w) => w > 0).length, all: row.tokens.length }));
        }
        parts.push(off ? t("no change (off)") : t("weights below 0: {count}", { count: negative }));
        parts.push(row.kind === "measured"
            ? t("sum of these words: plain {plain}, PLADIS {pladis}", {
                plain: decimal(total(weights.softmax)), pladis: decimal(total(weights.blend)) })
            : t("sum {sum}", { sum: decimal(total(weights.blend)) }));
        if (rescale) parts.push(t("norm × {factor}", { factor: decimal(weights.factor) }));
        return parts.join(" · ");
    }

    // ---- the chart ---------------------------------------------------------------------------

    // At most eight ticks at a round distance that enclose all values and zero.
    function ticks(values) {
        let low = Math.min(0, ...values);
        const high = Math.max(0, ...values);
        if (low < 0) low -= 0.06 * (high - low); // room for the number under a bar
        const step = STEPS.find((s) => (high - low) / s <= 6) || 5;
        const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
        const marks = [];
        for (let k = Math.floor(low / step); k < high / step + 1; k++) marks.push(k * step);
        return { marks, digits };
    }

    // The keys whose value is written out: the largest first, without overlaps.
    function labelled(values, x, y) {
        const order = [...values.keys()].sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
        const kept = [];
        for (const i of order) {
            const clear = (j) => Math.abs(x(i) - x(j)) > 30 || Math.abs(y(i) - y(j)) > 9;
            if (kept.every(clear)) kept.push(i);
        }
        return new Set(kept);
    }

    // A text that changes without adding or removing a node.
    function written(make, tag, attributes = {}) {
        const letters = document.createTextNode("");
        return { node: make(tag, attributes, letters), say: (text) => {
            if (letters.data !== text) letters.data = text;
        } };
    }

    // An SVG for a row at a width: {svg, show(weights, text)}.
    function chart(row, series, width) {
        const { left, top } = MARGIN;
        const right = width - MARGIN.right;
        const group = (right - left) / row.tokens.length;
        const longest = LETTER * Math.max(...row.tokens.map(window.pladis.wide));
        const narrow = group < Math.max(40, longest);
        const bottom = top + (narrow ? PLOT.narrow : PLOT.wide);
        const height = Math.ceil(bottom + 20 + (narrow ? longest * Math.sin(SLANT * Math.PI / 180) - 4 : 0));
        const bar = Math.min(18, group * 0.86 / series.length);
        const centre = (i) => left + group * (i + 0.5);

        const below = drawing("rect", { class: "pladis-below", x: left, width: right - left });
        const axis = drawing("g");
        const keys = row.tokens.map((token, i) => {
            const middle = centre(i);
            const bars = Object.fromEntries(series.map((name, k) => [name, drawing("rect", {
                "data-series": name, x: middle + (k - series.length / 2) * bar, width: bar - 1,
            })]));
            const number = written(drawing, "text", {
                class: "pladis-value", x: middle + (series.length / 2 - 0.5) * bar, "text-anchor": "middle" });
            const x = narrow ? middle + 6 : middle;
            const name = drawing("text", {
                class: "pladis-token", x, y: bottom + 14, "text-anchor": narrow ? "end" : "middle",
                ...(narrow && { transform: `rotate(-${SLANT} ${x} ${bottom + 10})` }),
            }, AS_IT_IS + token);
            const hint = written(drawing, "title");
            return { bars, number, hint, node: drawing("g", {}, hint.node, ...Object.values(bars), name) };
        });
        const svg = drawing("svg", { role: "img", width, height, viewBox: `0 0 ${width} ${height}` },
            below, axis, ...keys.map((key) => key.node), ...keys.map((key) => key.number.node)); // numbers over all bars

        let drawn = "";
        function draw(marks, digits, y) {
            if (drawn === marks.join()) return;
            drawn = marks.join();
            below.setAttribute("y", y(0));
            below.setAttribute("height", bottom - y(0));
            axis.replaceChildren(...marks.flatMap((mark) => {
                const zero = Math.abs(mark) < 1e-9;
                return [
                    drawing("line", { class: zero ? "pladis-zero" : "pladis-grid",
                        x1: left, x2: right, y1: y(mark), y2: y(mark) }),
                    drawing("text", { class: "pladis-tick", x: left - 5, y: y(mark) + 3.5,
                        "text-anchor": "end" }, zero ? "0" : decimal(mark, digits)),
                ];
            }));
        }

        function show(weights, text) {
            const { marks, digits } = ticks(series.flatMap((name) => weights[name]));
            const [lowest, highest] = [marks[0], marks[marks.length - 1]];
            // Dividing first makes the lowest value exactly `bottom`, without a rounding error.
            const y = (value) => top + (bottom - top) * ((highest - value) / (highest - lowest));
            draw(marks, digits, y);
            const places = Math.max(2, digits + 1);
            const numberY = (i) => y(weights.blend[i]) + (weights.blend[i] < 0 ? 10 : -3);
            const shown = labelled(weights.blend, centre, numberY);
            const numbers = row.tokens.map((token, i) => `${token} ${series
                .map((name) => `${name} ${decimal(weights[name][i], places)}`).join(", ")}`);
            keys.forEach(({ bars, number, hint }, i) => {
                for (const [name, rect] of Object.entries(bars)) {
                    const value = weights[name][i];
                    const kind = `pladis-bar pladis-${name}${value < 0 ? " pladis-negative" : ""}`;
                    if (rect.getAttribute("class") !== kind) rect.setAttribute("class", kind);
                    rect.setAttribute("data-value", value);
                    rect.setAttribute("y", y(Math.max(value, 0)));
                    rect.setAttribute("height", Math.abs(y(value) - y(0)));
                }
                const value = weights.blend[i];
                number.say(shown.has(i) ? (value === 0 ? "0" : decimal(value, places)) : "");
                number.node.setAttribute("y", numberY(i));
                hint.say(numbers[i]);
            });
            svg.setAttribute("aria-label", `${text}. ${numbers.join("; ")}.`);
        }
        return { svg, show };
    }

    // ---- a chart in its box ------------------------------------------------------------------

    const views = new WeakMap(); // box -> what stands in it

    function draw(box, row, settings, width) {
        const weights = row.kind === "measured"
            ? window.pladis.measuredRows(row, settings) : window.pladis.rows(row.logits, settings);
        let view = views.get(box);
        if (!view || view.row !== row || view.width !== width || view.chart.svg.parentNode !== box) {
            const series = SERIES.filter((name) => weights[name]);
            view = { row, width, chart: chart(row, series, width),
                about: written(element, "div", { class: "pladis-about" }), summary: written(element, "div", { class: "pladis-summary" }) };
            views.set(box, view);
            box.replaceChildren(
                element("div", { class: "pladis-legend", "aria-hidden": "true" },
                    ...legend(series).map(([name, label]) => element("span", {},
                        element("span", { class: `pladis-chip pladis-${name}` }), label))),
                view.chart.svg, view.about.node, view.summary.node,
            );
        }
        const [of, text] = [about(row, settings), summary(row, settings, weights)];
        view.about.say(of);
        view.summary.say(text);
        view.chart.show(weights, `${of} ${text}`);
    }

    // ---- following the settings --------------------------------------------------------------

    const state = Object.fromEntries(TABS.map((tab) => [tab, { settings: {}, drawn: [] }]));

    // Only a number in its range is used; an empty or invalid box leaves the last one.
    on("values", (tab) => {
        for (const [name, [low, high]] of Object.entries(facts().ranges)) {
            const value = values(tab)[name];
            if (typeof value === "number" && value >= low && value <= high) state[tab].settings[name] = value;
        }
    });

    on("panel", (tab) => {
        const box = find(tab, "curve", ".pladis-curve");
        const mine = state[tab];
        if (!box.clientWidth) return; // folded
        const wanted = [window.pladis.row(tab), Math.max(NARROWEST, box.clientWidth), ...Object.values(mine.settings)];
        if (box.querySelector("svg") && wanted.every((each, i) => each === mine.drawn[i])) return;
        draw(box, wanted[0], mine.settings, wanted[1]);
        mine.drawn = wanted;
    });

    Object.assign(window.pladis, { draw });
}());
