// The rest of the PLADIS panel: what its head says when closed, the suggestion for the model in use, presets,
// and what gradio leaves out for keyboards and screen readers.
"use strict";

(function () {
    if (typeof window === "undefined") return;
    const TABS = ["txt2img", "img2img"];
    const SETTLED = 2; // looks of the timer in which the CFG scale and the checkpoint stayed as they are
    const AGAIN = 25; // looks until it is asked again for a checkpoint that wasn't loaded
    const LOST = 10; // looks until a question without an answer counts as lost: gradio 3 drops one that is asked
    const TRIES = 3; // while the last is open; and how often such a one is asked again

    const t = (text, values) => window.pladis.translated(text, values);
    const root = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const find = (tab, name, inside = "") => root().querySelector(`#pladis_${tab}_${name} ${inside}`);
    const state = Object.fromEntries(TABS.map((tab) => [tab, {
        facts: null, advanced: null, begins: null, asked: "", seen: "", looks: 0, wasShown: false, take: "",
        question: 0, open: 0, tries: 0,
    }]));

    // What the panel says of its settings; see lib_pladis/webui/page.py.
    function facts(tab) {
        const place = find(tab, "curve");
        if (!state[tab].facts && place) state[tab].facts = JSON.parse(place.dataset.facts);
        return state[tab].facts;
    }

    // A setting's value, of the kind of its default; undefined while there is none in the box.
    function value(tab, name, usual) {
        const box = (typeof usual === "number" && find(tab, name, "input[type=number]"))
            || (typeof usual === "boolean" && find(tab, name, "input[type=checkbox]"))
            || find(tab, name, "textarea") || find(tab, name, "input");
        if (!box || (box.type !== "checkbox" && box.value.trim() === "")) return undefined;
        if (typeof usual === "boolean") return box.checked;
        return typeof usual === "number" ? Number(box.value) : box.value.trim();
    }

    function element(tag, attributes, ...children) {
        const node = document.createElement(tag);
        for (const [name, each] of Object.entries(attributes)) node.setAttribute(name, each);
        node.append(...children);
        return node;
    }

    // ---- the head ----------------------------------------------------------------------------

    const headOf = (tab, name) => find(tab, name, ".label-wrap");
    const switchOf = (tab) => root().querySelector(`#pladis_${tab}_enabled-visible-checkbox`)
        || root().querySelector(`#pladis_${tab}_enabled-checkbox input`);

    // "on · λ 2 · α 1.5 · d,u": whether it is on, and what is set.
    function glance(tab) {
        const head = headOf(tab, "enabled");
        const box = switchOf(tab);
        if (!head || !box) return;
        const words = [];
        for (const [name, [pattern, usual, always]] of Object.entries(facts(tab).glance)) {
            const now = value(tab, name, usual);
            const short = typeof now === "number" ? Number(now.toFixed(3)) : now;
            if (now !== undefined && (always || now !== usual)) words.push(t(pattern, { value: short }));
        }
        let place = head.querySelector(".pladis-glance");
        if (!place) {
            place = element("span", { class: "pladis-glance" });
            head.insertBefore(place, head.lastElementChild);
        }
        const set = words.join(" · "); // "on" alone would be translated wherever it stands, in a prompt as well
        const text = box.checked ? t("on · {set}", { set }) : t("off · {set}", { set });
        if (place.textContent !== text) place.textContent = text;
        place.classList.toggle("pladis-on", box.checked);
    }

    // ---- "Advanced" --------------------------------------------------------------------------

    // While Advanced is closed, only a paste, a preset or another tab can change what is in it: if that
    // leaves something other than its default there, it is to be seen.
    function openAdvanced(tab) {
        const now = {};
        for (const [name, usual] of Object.entries(facts(tab).advanced)) now[name] = value(tab, name, usual);
        const last = state[tab].advanced || now;
        const news = Object.entries(facts(tab).advanced).some(([name, usual]) => now[name] !== undefined
            && last[name] !== undefined && now[name] !== last[name] && now[name] !== usual);
        state[tab].advanced = now;
        const head = headOf(tab, "advanced");
        if (news && head && !head.classList.contains("open")) head.click();
    }

    // ---- presets -----------------------------------------------------------------------------

    // Beside the reason of the chosen preset, and beside the suggested one: whether something else is set.
    function changed(tab) {
        const marks = { preset_reason: ".pladis-changed", suggestion: ".pladis-take" };
        for (const [name, marked] of Object.entries(marks)) {
            const place = find(tab, name);
            const mark = place && place.querySelector(marked);
            if (mark) mark.hidden = Object.entries(JSON.parse(place.dataset.sets)).every((set) => isSet(tab, ...set));
        }
    }

    function isSet(tab, name, set) {
        const now = value(tab, name, set);
        return now === undefined || now === set || (typeof set === "number" && Math.abs(now - set) < 1e-9);
    }

    const cfg = (tab) => {
        const box = root().querySelector(`#${tab}_cfg_scale input[type=number]`);
        return box ? Number.parseFloat(box.value) : NaN;
    };

    // What the page begins with, of all that a preset sets; the web UI's own defaults may be another preset's
    // than the one that the list was made with.
    function begins(tab) {
        const place = find(tab, "preset_reason");
        if (!place) return undefined;
        return Object.fromEntries(Object.entries(JSON.parse(place.dataset.sets || "{}"))
            .map(([name, set]) => [name, value(tab, name, set)]));
    }

    // What gradio's hidden buttons of the panel are told of the page.
    function said(tab) {
        const place = find(tab, "suggestion");
        return JSON.stringify({
            cfg: cfg(tab),
            preset: state[tab].take,
            listed: JSON.parse(place.dataset.listed),
            begins: place.dataset.answers ? undefined : state[tab].begins, // until it has been heard
            question: state[tab].question,
        });
    }

    // Asks for the suggestion and the list of presets: once while the panel is closed, at once when it opens (who is
    // quick with the list is to find a preset of one's own in it), and when the model or CFG is another.
    function ask(tab) {
        const mine = state[tab];
        const place = find(tab, "suggestion");
        const button = find(tab, "preset_ask");
        const list = find(tab, "preset");
        const shown = Boolean(place && list.getClientRects().length);
        if (shown && !mine.wasShown) mine.asked = "";
        mine.wasShown = shown;
        if (!place || !button || (!shown && mine.asked)) return;
        if (Number.isNaN(cfg(tab)) || list.contains(document.activeElement)) return;
        const checkpoint = root().querySelector("#setting_sd_model_checkpoint input");
        const now = JSON.stringify([cfg(tab), checkpoint && checkpoint.value]);
        mine.looks = now === mine.seen ? mine.looks + 1 : 0;
        mine.seen = now;
        const open = mine.question > 0 && place.dataset.answers !== String(mine.question);
        mine.open = open ? mine.open + 1 : 0;
        const lost = mine.open >= LOST && mine.tries < TRIES;
        const again = lost || (place.dataset.again !== undefined && mine.looks % AGAIN === AGAIN - 1);
        if (mine.asked && (mine.looks < SETTLED || (now === mine.asked && !again))) return;
        mine.tries = lost ? mine.tries + 1 : 0;
        mine.open = 0;
        mine.question += 1;
        mine.begins = mine.begins || begins(tab);
        mine.asked = now;
        button.click();
    }

    document.addEventListener("click", (event) => {
        const take = event.target.closest && event.target.closest(".pladis-take");
        const tab = take && TABS.find((each) => root().querySelector(`#pladis_${each}_enabled`).contains(take));
        if (!tab) return;
        state[tab].take = take.dataset.preset;
        find(tab, "preset_take").click();
    });

    // Another tab of the browser may have saved a preset, or loaded a model.
    window.addEventListener("focus", () => TABS.forEach((tab) => { state[tab].asked = ""; }));

    // ---- keyboards and screen readers --------------------------------------------------------

    // gradio 3's heads of accordions are not buttons; gradio 4's are, and hold the host's checkbox, which no
    // button may: it moves beside the head.
    function accessibleHead(tab, name) {
        const head = headOf(tab, name);
        if (!head) return;
        if (head.tagName !== "BUTTON" && !head.hasAttribute("role")) {
            head.setAttribute("role", "button");
            head.tabIndex = 0;
            head.addEventListener("keydown", (event) => {
                if (event.target !== head || !["Enter", " "].includes(event.key)) return;
                event.preventDefault();
                head.click();
            });
        }
        const open = String(head.classList.contains("open"));
        if (head.getAttribute("aria-expanded") !== open) head.setAttribute("aria-expanded", open);
        const box = head.querySelector("input[type=checkbox]");
        if (box) {
            box.setAttribute("aria-label", t("PLADIS on or off"));
            box.classList.add("pladis-switch");
            head.parentElement.insertBefore(box, head);
        }
        const beside = head.parentElement.querySelector(":scope > .pladis-switch");
        if (!beside || !head.offsetHeight) return;
        const top = `${Math.round(head.offsetTop + (head.offsetHeight - beside.offsetHeight) / 2)}px`;
        if (beside.style.top !== top) beside.style.top = top;
    }

    // gradio 3 leaves the number beside a slider without a name. (It is in English only where gradio writes it.)
    function accessibleNumbers(tab) {
        for (const name of Object.keys(facts(tab).sliders)) {
            for (const box of root().querySelectorAll(`#pladis_${tab}_${name} input:not([type=checkbox])`)) {
                const label = t(facts(tab).sliders[name]);
                if (box.getAttribute("aria-label") !== label) box.setAttribute("aria-label", label);
            }
        }
    }

    // The web UIs translate texts, not the names that gradio 4 gives its lists.
    function accessibleLists(tab) {
        for (const box of root().querySelectorAll(`#pladis_${tab}_enabled input[role=listbox][aria-label]`)) {
            const label = t(box.getAttribute("aria-label"));
            if (box.getAttribute("aria-label") !== label) box.setAttribute("aria-label", label);
        }
    }

    function accessible(tab) {
        accessibleNumbers(tab);
        accessibleLists(tab);
        for (const name of ["enabled", "advanced", "mine"]) accessibleHead(tab, name);
        for (const name of ["preset_message", "preset_reason"]) {
            const place = find(tab, name); // gradio writes it anew; what it stands in stays
            if (place) place.parentElement.setAttribute("aria-live", "polite");
        }
    }

    // ---- the page ----------------------------------------------------------------------------

    function look() {
        if (document.hidden) return;
        for (const tab of TABS) {
            if (!facts(tab)) continue;
            accessible(tab);
            glance(tab);
            openAdvanced(tab);
            changed(tab);
            ask(tab);
        }
    }

    window.pladis = Object.assign(window.pladis || {}, { said });
    const start = () => {
        for (const tab of TABS) if (facts(tab)) openAdvanced(tab); // how it was before anybody did anything
        setInterval(look, 200);
    };
    if (typeof onUiLoaded === "function") onUiLoaded(start);
    else if (document.readyState !== "loading") start();
    else document.addEventListener("DOMContentLoaded", start);
}());
