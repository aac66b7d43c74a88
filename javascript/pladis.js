// What the other scripts of PLADIS share: how the page is found, written to and followed. It is loaded first.
//
// Nothing here runs by a clock. gradio tells the panel's settings when they change (`told`, see panel.py); the host says
// when the page has changed; one ResizeObserver says when a panel comes into sight, and how wide it is.
"use strict";

(function () {
    const TABS = ["txt2img", "img2img"];
    const SVG = "http://www.w3.org/2000/svg";
    const tabs = Object.fromEntries(TABS.map((tab) => [tab, { values: null, inSight: false }]));
    const listeners = {};
    let [known, started] = [null, false];

    const root = () => gradioApp();

    // The panel's element of this name, or what is inside it.
    const find = (tab, name, inside = "") => root().querySelector(`#pladis_${tab}_${name} ${inside}`);

    // A text in the page's language, with {names} filled in: the web UI's own table of translations.
    const t = (text, values = {}) => ((window.localization || {})[text] || text)
        .replace(/\{(\w+)\}/g, (_, name) => values[name]);

    // A word such as "start", which the web UI would translate wherever it stands alone, in a prompt as well, if it were
    // in its table by itself: it is there under a name of ours.
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

    // What the panel says of its settings, see lib_pladis/webui/page.py; null until the panel is there.
    function facts() {
        const place = known ? null : find(TABS[0], "curve");
        if (place) known = JSON.parse(place.dataset.facts);
        return known;
    }

    // The settings of a tab by name, as gradio has them; null until it has told them.
    const values = (tab) => tabs[tab].values;
    const inSight = (tab) => tabs[tab].inSight;

    // on(kind, f): f(tab) is called
    //     "start"    once, when the panel is there
    //     "values"   after each change of its settings
    //     "sight"    when it comes into sight, or goes
    //     "panel"    while it is in sight, after anything that it may follow
    //     "page"     when the host has changed anything on the page
    //     "gallery"  when other pictures, or another choice of them, are in the gallery (pladis_gallery.js)
    const on = (kind, listener) => { (listeners[kind] = listeners[kind] || []).push(listener); };
    const tell = (kind, tab) => (listeners[kind] || []).forEach((listener) => listener(tab));
    const ask = (tab) => find(tab, "tell").click(); // gradio to tell the settings
    function changed(tab) {
        if (!tabs[tab].inSight) return;
        if (tabs[tab].values) tell("panel", tab);
        else ask(tab);
    }

    function told(tab, given) {
        if (!started) return; // gradio tells of values while it makes the page, too
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

    // Once both panels are there, to their last element: gradio puts a page together piece by piece.
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
