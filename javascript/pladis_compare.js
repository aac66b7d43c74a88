// "Compare": under the gallery, a before/after slider over a picture and the plain one of the same seed. Which two
// belong together is read in their own infotexts: but for PLADIS's parameters they are the same.
"use strict";

(function () {
    const PARAMETER = /, PLADIS ([\w \-/]+): ("(?:\\.|[^"\\])*"|[^,]*)/g;
    const LETTERS = { scale: "λ", alpha: "α", rescale: "φ" };
    const STEPS = {
        ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100,
    };

    // ---- which pictures belong together --------------------------------------------------------

    // An infotext's last line is the parameters'; what is before it is the prompts, which may say anything.
    function parts(text) {
        const at = text.lastIndexOf("\n") + 1;
        const parameters = [...text.slice(at).matchAll(PARAMETER)].map(([, name, value]) => [name, value]);
        return { parameters, rest: text.slice(0, at) + text.slice(at).replace(PARAMETER, "") };
    }

    function said(parameters) {
        return parameters.filter(([name]) => name !== "version")
            .map(([name, value]) => `${LETTERS[name] || name} ${value.replace(/^"|"$/g, "")}`).join(" · ");
    }

    // [{picture, plain, settings}]: the places of both, and PLADIS's parameters. `first`: before it, there are grids.
    function pairs(infotexts, first = 0) {
        const plain = new Map();
        const found = [];
        const all = infotexts.map(parts);
        all.forEach(({ parameters, rest }, place) => {
            if (place < first || !rest || parameters.length) return;
            plain.set(rest, [...(plain.get(rest) || []), place]);
        });
        all.forEach(({ parameters, rest }, place) => {
            const other = place >= first && parameters.length ? (plain.get(rest) || []).shift() : undefined;
            if (other !== undefined) found.push({ picture: place, plain: other, settings: said(parameters) });
        });
        return found;
    }

    if (typeof module !== "undefined" && module.exports) module.exports = { pairs };
    if (typeof window === "undefined") return;
    window.pladisCompare = { pairs };

    const t = (text, values) => window.pladis.translated(text, values);

    // ---- the slider ------------------------------------------------------------------------------

    function element(tag, attributes = {}, ...children) {
        const node = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
        node.append(...children);
        return node;
    }

    function picture(source, name, alt, stage) {
        const image = element("img", { src: source, class: `pladis-${name}`, alt, draggable: "false" });
        image.addEventListener("load", () => {
            stage.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
        });
        return image;
    }

    // The two pictures, and a line between them that is dragged or moved by keys. `at`: percent from the left.
    function stage(sources, at, moved) {
        const line = element("div", {
            class: "pladis-line", role: "slider", tabindex: "0", "aria-label": t("Plain against PLADIS"),
            "aria-orientation": "horizontal", "aria-valuemin": "0", "aria-valuemax": "100",
        }, element("span", { class: "pladis-knob", "aria-hidden": "true" }, "⇔"));
        const box = element("div", { class: "pladis-stage" });
        box.append(
            picture(sources.picture, "changed", t("Picture with PLADIS"), box),
            picture(sources.plain, "plain", t("Plain picture"), box),
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

    // ---- below the gallery -----------------------------------------------------------------------

    const root = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const state = { txt2img: { drawn: "", at: 50 }, img2img: { drawn: "", at: 50 } };

    function wanted(tab) {
        const info = window.pladisGallery.info(tab);
        if (!info) return [];
        const images = window.pladisGallery.sources(tab);
        return pairs(info.infotexts, info.first)
            .map(({ picture, plain, settings }) => ({ picture: images[picture], plain: images[plain], settings }))
            .filter(({ picture, plain }) => picture && plain);
    }

    function draw(tab, list, number) {
        const each = list[number];
        const head = element("div", { class: "pladis-compare-head" },
            element("b", {}, "Compare"), element("span", { class: "pladis-compare-settings" }, each.settings));
        const box = element("section", { class: "pladis-compare", id: `pladis_${tab}_compare_view`,
            "aria-label": t("Compare") });
        if (list.length > 1) {
            const button = (text, label, to) => {
                const node = element("button", { type: "button", "aria-label": label }, text);
                node.disabled = to < 0 || to >= list.length;
                node.addEventListener("click", () => {
                    box.replaceWith(draw(tab, list, to));
                    const view = root().querySelector(`#pladis_${tab}_compare_view`);
                    const same = view.querySelector(`button[aria-label="${label}"]`);
                    (same.disabled ? view.querySelector("button:not(:disabled)") : same).focus();
                });
                return node;
            };
            head.append(element("span", { class: "pladis-compare-number" },
                button("‹", t("Previous picture"), number - 1),
                element("span", { "aria-live": "polite" }, `${number + 1} / ${list.length}`),
                button("›", t("Next picture"), number + 1)));
        }
        box.append(head, stage(each, state[tab].at, (at) => { state[tab].at = at; }));
        return box;
    }

    function refresh() {
        for (const [tab, mine] of Object.entries(state)) {
            const place = window.pladisGallery.place(tab);
            if (!place) continue;
            const list = wanted(tab);
            const drawn = JSON.stringify(list);
            const there = root().querySelector(`#pladis_${tab}_compare_view`);
            if (drawn === mine.drawn && Boolean(there) === list.length > 0) continue;
            mine.drawn = drawn;
            if (there) there.remove();
            if (list.length) place.after(draw(tab, list, 0));
        }
    }

    if (typeof onAfterUiUpdate === "function") onAfterUiUpdate(refresh);
}());
