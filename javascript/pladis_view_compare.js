// "Compare": below the gallery, a picture and the plain one of the same seed, with a slider between them, blinking, or
// as their difference.
"use strict";

(function () {
    const STEPS = {
        ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100,
    };
    const MODES = ["slider", "blink", "difference"]; // styled in style.css
    const { TABS, t, said, element, button, on, show, gallery } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, { drawn: "", at: 50, mode: MODES[0] }]));

    function picture(source, name, alt, stage) {
        const image = element("img", { src: source, class: `pladis-${name}`, alt, draggable: "false" });
        image.addEventListener("load", () => {
            stage.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
        });
        return image;
    }

    // The two pictures with a line between them, moved by pointer or keys. `at`: its place, percent from the left.
    function stage(sources, at, moved) {
        const line = element("div", {
            class: "pladis-divider", role: "slider", tabindex: "0", "aria-label": t("Plain against PLADIS"),
            "aria-orientation": "horizontal", "aria-valuemin": "0", "aria-valuemax": "100",
        }, element("span", { class: "pladis-knob", "aria-hidden": "true" }, "⇔"));
        const box = element("div", { class: "pladis-stage" });
        box.append(
            element("div", { class: "pladis-two" },
                picture(sources.picture, "changed", t("Picture with PLADIS"), box),
                picture(sources.plain, "plain", t("Plain picture"), box)),
            element("span", { class: "pladis-tag pladis-left", "aria-hidden": "true" }, "plain"),
            element("span", { class: "pladis-tag pladis-right", "aria-hidden": "true" }, "PLADIS"),
            line,
        );
        let now = at;
        const move = (to) => {
            now = Math.min(100, Math.max(0, to));
            box.style.setProperty("--at", `${now}%`);
            line.setAttribute("aria-valuenow", Math.round(now));
            line.setAttribute("aria-valuetext", t("{plain}% plain, {pladis}% PLADIS", {
                plain: Math.round(now), pladis: 100 - Math.round(now) }));
            moved(now);
        };
        const follow = (event) => {
            const { left, width } = box.getBoundingClientRect();
            move(100 * (event.clientX - left) / width);
        };
        box.addEventListener("pointerdown", (event) => {
            if (event.button) return;
            box.setPointerCapture(event.pointerId);
            line.focus({ preventScroll: true });
            follow(event);
        });
        box.addEventListener("pointermove", (event) => {
            if (box.hasPointerCapture(event.pointerId)) follow(event);
        });
        line.addEventListener("keydown", (event) => {
            const step = STEPS[event.key];
            if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
            event.preventDefault();
            event.stopPropagation();
            move(now + step);
        });
        move(at);
        return box;
    }

    function draw(tab, each) {
        const mine = state[tab];
        const modes = MODES.map((mode) => button(said(mode), { "data-mode": mode }, () => set(mode)));
        const box = element("section", { class: "pladis-compare", "aria-label": t("Compare") },
            element("div", { class: "pladis-view-head" }, element("b", {}, "Compare"),
                element("span", {}, each.settings),
                element("span", { class: "pladis-choices", role: "group", "aria-label": t("Compare") }, ...modes)),
            stage(each, mine.at, (at) => { mine.at = at; }));
        const set = (mode) => {
            mine.mode = box.dataset.mode = mode;
            for (const one of modes) one.setAttribute("aria-pressed", String(one.dataset.mode === mode));
        };
        set(mine.mode);
        return box;
    }

    on("gallery", (tab) => {
        const shown = gallery(tab);
        const pair = shown && shown.pairs.find((each) => each.picture === shown.chosen);
        const sources = pair && { ...pair, picture: shown.images[pair.picture], plain: shown.images[pair.plain] };
        const drawn = JSON.stringify(sources);
        if (drawn === state[tab].drawn) return;
        state[tab].drawn = drawn;
        show(tab, "compare", sources && sources.picture && sources.plain ? draw(tab, sources) : null);
    });
}());
