// Shared by the other scripts of PLADIS: finding elements, creating them, and events. Loaded first.
//
// There are no timers here. gradio passes the panel's settings on when they change (`told`, see panel.py), the web UI
// reports changes of the page, and one ResizeObserver reports when a panel becomes visible and how wide it is.
"use strict";

(function () {
    const TABS = ["txt2img", "img2img"];
    const SVG = "http://www.w3.org/2000/svg";
    const tabs = Object.fromEntries(TABS.map((tab) => [tab, { values: null, inSight: false }]));
    const listeners = {};
    let [known, started] = [null, false];

    const root = () => gradioApp();

    // The panel's element of this name, or an element inside it.
    const find = (tab, name, inside = "") => root().querySelector(`#pladis_${tab}_${name} ${inside}`);

    // A text in the page's language, from the web UI's table of translations, with {names} filled in.
    const t = (text, values = {}) => ((window.localization || {})[text] || text)
        .replace(/\{(\w+)\}/g, (_, name) => values[name]);

    // A single word such as "start". In the table it has a prefix: the web UI translates a whole text node wherever it
    // occurs, also a word of a prompt.
    const said = (text, about = "Look inside · ") => (t(about + text) === about + text ? text : t(about + text));

    function filled(node, attributes, children) {
        for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
        node.append(...children);
        return node;
    }

    const element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
    const drawing = (tag, attributes = {}, ...children) =>
        filled(document.createElementNS(SVG, tag), attributes, children);

    function button(text, attributes, clicked) {
        const node = element("button", { type: "button", ...attributes }, text);
        node.addEventListener("click", clicked);
        return node;
    }

    // The data about the settings that the panel contains (lib_pladis/webui/page.py); null until there is a panel.
    function facts() {
        const place = known ? null : find(TABS[0], "curve");
        if (place) known = JSON.parse(place.dataset.facts);
        return known;
    }

    // The settings of a tab by name; null until gradio has sent them.
    const values = (tab) => tabs[tab].values;
    const inSight = (tab) => tabs[tab].inSight;

    // on(kind, f): f(tab) is called
    //     "start"    once, when the panel exists
    //     "values"   after each change of its settings
    //     "sight"    when the panel becomes visible or hidden
    //     "panel"    while it is visible, after every change that it may depend on
    //     "page"     when the web UI has changed anything on the page
    //     "gallery"  when the gallery shows other pictures, or another one is selected (pladis_gallery.js)
    const on = (kind, listener) => { (listeners[kind] = listeners[kind] || []).push(listener); };
    const tell = (kind, tab) => (listeners[kind] || []).forEach((listener) => listener(tab));
    const ask = (tab) => find(tab, "tell").click(); // makes gradio send the settings
    function changed(tab) {
        if (!tabs[tab].inSight) return;
        if (tabs[tab].values) tell("panel", tab);
        else ask(tab);
    }

    function told(tab, given) {
        if (!started) return; // gradio also sends values while it builds the page
        const names = Object.keys(facts().defaults);
        tabs[tab].values = Object.fromEntries(names.map((name, i) => [name, given[i]]));
        tell("values", tab);
        changed(tab);
    }

    const observer = new ResizeObserver(() => TABS.forEach((tab) => {
        const now = find(tab, "preset").getClientRects().length > 0;
        const other = now !== tabs[tab].inSight;
        tabs[tab].inSight = now;
        if (other) tell("sight", tab);
        changed(tab);
    }));

    // Called once both panels are complete: gradio builds the page piece by piece.
    function start() {
        started = true;
        for (const tab of TABS) {
            for (const place of [find(tab, "preset"), find(tab, "curve", ".pladis-curve")]) observer.observe(place);
        }
        for (const kind of ["input", "focusout"]) {
            document.addEventListener(kind, ({ target }) => TABS.forEach((tab) => {
                if (target.closest(`#${tab}_prompt, #${tab}_cfg_scale, #pladis_${tab}_preset`)) changed(tab);
            }), true);
        }
        TABS.forEach((tab) => tell("start", tab));
    }

    function pageChanged() {
        if (!started && TABS.every((tab) => find(tab, "tell"))) start();
        for (const tab of started ? TABS : []) {
            if (tabs[tab].values) changed(tab);
            else ask(tab);
            tell("page", tab);
        }
    }

    window.pladis = Object.assign(window.pladis || {}, {
        TABS, root, find, t, said, element, drawing, button, facts, values, inSight, on, tell, changed, told });
    onAfterUiUpdate(pageChanged);
}());
