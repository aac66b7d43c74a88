// The web UI's gallery: which pictures belong together and which one is selected. Also places the views below it.
// A click on a thumbnail selects its picture in all views.
"use strict";

(function () {
    const PARAMETER = /, PLADIS ([\w \-/]+): ("(?:\\.|[^"\\])*"|[^,]*)/g;
    const LETTERS = { scale: "λ", alpha: "α", rescale: "φ" };

    // ---- which pictures belong together --------------------------------------------------------

    // PLADIS's parameters, from the last line of an infotext; the lines before it are the prompts.
    const settings = (text) => [...text.slice(text.lastIndexOf("\n") + 1).matchAll(PARAMETER)]
        .filter(([, name]) => name !== "version")
        .map(([, name, value]) => `${LETTERS[name] || name} ${value.replace(/^"|"$/g, "")}`).join(" · ");

    // The data that a generation's result contains about its pictures, by index in the gallery, which may hold fewer:
    // pairs [{picture, plain, settings}], sheets (index -> its picture's), looks (index -> {name, number}); or null.
    function read(text) {
        try {
            const { infotexts, index_of_first_image: first = 0, extra_generation_params: more } = JSON.parse(text);
            const told = more["PLADIS beside"];
            const there = (...places) => places.every((place) => place < infotexts.length);
            const pairs = told.pairs.filter((pair) => there(...pair))
                .map(([picture, plain]) => ({ picture, plain, settings: settings(infotexts[picture]) }));
            const looked = told.looks.filter(([picture, sheet]) => there(picture, sheet || 0));
            const sheets = new Map(looked.filter(([, sheet]) => sheet !== null).map(([at, sheet]) => [sheet, at]));
            const looks = new Map(looked.map(([picture, , name, number]) => [picture, { name, number }]));
            const pictures = [...new Set([...pairs.map(({ picture: at }) => at), ...looks.keys()])].sort((a, b) => a - b);
            const notes = Object.keys(told.notes || {});
            return { infotexts, first, pairs, sheets, looks, pictures, notes, images: [], chosen: pictures[0] };
        } catch {
            return null; // empty, or without data of PLADIS
        }
    }

    // ---- the current gallery -----------------------------------------------------------------------

    const { TABS, root, find, t, said, element, button, on, tell } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, { text: "", shown: null, seen: "" }]));
    const inGallery = (tab, at) => [...root().querySelectorAll(`#${tab}_gallery ${at}`)]
        .filter((node) => !node.closest(".livePreview"));
    const thumbnails = (tab) => [".thumbnails .thumbnail-item", ".grid-container .thumbnail-item"]
        .map((at) => inGallery(tab, at)).find((found) => found.length) || [];

    // What a thumbnail shows; "" if none of the pictures is PLADIS's.
    function kind({ infotexts, first, pairs: two, sheets: maps, pictures }, place) {
        if (!pictures.length || place >= infotexts.length) return "";
        if (place < first) return said("grid");
        if (maps.has(place)) return said("maps");
        if (two.some((pair) => pair.plain === place)) return said("plain");
        return pictures.includes(place) ? "PLADIS" : "";
    }

    function mark(tab, shown) {
        thumbnails(tab).forEach((node, place) => {
            node.title = node.dataset.pladis = shown ? kind(shown, place) : "";
        });
    }

    function refresh(tab) {
        const mine = state[tab];
        const box = root().querySelector(`#generation_info_${tab} textarea`);
        const text = box ? box.value : "";
        if (text !== mine.text) Object.assign(mine, { text, shown: read(text) });
        if (!mine.shown && !mine.seen) return;
        const images = mine.shown ? thumbnails(tab).map((node) => node.querySelector("img").src) : [];
        mark(tab, mine.shown);
        const seen = mine.shown ? text + images.join() : "";
        if (seen === mine.seen) return;
        mine.seen = seen;
        if (mine.shown) mine.shown.images = images;
        changed(tab);
    }

    function changed(tab) {
        show(tab, "chooser", chooser(tab));
        show(tab, "notes", notes(tab));
        tell("gallery", tab);
    }

    // The messages about all cells of an X/Y/Z plot; the web UI shows only those of the first.
    function notes(tab) {
        const log = root().querySelector(`#html_log_${tab}`).textContent;
        const unsaid = (state[tab].shown || { notes: [] }).notes.filter((note) => !log.includes(note));
        return unsaid.length ? element("div", { class: "pladis-notes" }, unsaid.join("\n")) : null;
    }

    // ---- choosing ----------------------------------------------------------------------------------

    // The picture that a thumbnail belongs to: for a plain picture or a sheet, the one made with PLADIS.
    function picture({ pairs: two, sheets: maps }, place) {
        const pair = two.find((each) => each.plain === place);
        return maps.has(place) ? maps.get(place) : pair ? pair.picture : place;
    }

    function choose(tab, place) {
        const { shown } = state[tab];
        const wanted = shown && picture(shown, place);
        if (!shown || wanted === shown.chosen || !shown.pictures.includes(wanted)) return;
        shown.chosen = wanted;
        changed(tab);
    }

    function chooser(tab) {
        const { shown } = state[tab];
        if (!shown || shown.pictures.length < 2) return null;
        const number = shown.pictures.indexOf(shown.chosen);
        const step = (name, label, by) => {
            const node = button(name, { id: `pladis_${tab}_picture_${by}`, "aria-label": label }, () => {
                choose(tab, shown.pictures[number + by]);
                const same = find(tab, `picture_${by}`);
                (same.disabled ? find(tab, "views", ".pladis-chooser button:not(:disabled)") : same).focus();
            });
            node.disabled = !(number + by in shown.pictures);
            return node;
        };
        return element("div", { class: "pladis-chooser", role: "group", "aria-label": t("Picture") },
            step("‹", t("Previous picture"), -1),
            element("span", { "aria-live": "polite" }, `${number + 1} / ${shown.pictures.length}`),
            step("›", t("Next picture"), 1));
    }

    for (const kind of ["click", "keyup"]) { // gradio's gallery uses the arrow keys
        document.addEventListener(kind, ({ target }) => {
            const tab = target.closest && TABS.find((each) => target.closest(`#${each}_gallery`));
            if (tab && state[tab].shown) {
                setTimeout(() => choose(tab, inGallery(tab, ".thumbnails .thumbnail-item")
                    .findIndex((node) => node.classList.contains("selected"))));
            }
        });
    }

    // ---- the views -----------------------------------------------------------------------------------

    // Shows `node` as the view of this name, below the gallery's buttons; null removes the view.
    function show(tab, name, node) {
        const before = find(tab, `${name}_view`);
        if (before && node) before.replaceWith(node);
        else if (before) before.remove();
        if (!node) return;
        node.id = `pladis_${tab}_${name}_view`;
        if (before) return;
        if (!find(tab, "views")) {
            ["image_buttons_TAB", "TAB_gallery_container", "TAB_gallery"].map((id) => root()
                .querySelector(`#${id.replace("TAB", tab)}`)).find(Boolean)
                .after(element("div", { id: `pladis_${tab}_views`, class: "pladis-views" }));
        }
        find(tab, "views").append(node); // style.css sets their order
    }

    Object.assign(window.pladis, { info: read, show, gallery: (tab) => state[tab].shown });
    on("page", refresh);
}());
