// "Look inside": under the gallery, where the attention on each word went, plain and with PLADIS, over the picture;
// and a table of the layers. All of it is asked of /pladis/page/look, of the generation that the gallery shows.
"use strict";

(function () {
    const NAMES = {
        all: "all", first: "first third", middle: "middle third", last: "last third",
        d: "down", m: "middle", u: "up", b: "blocks", j: "double blocks", s: "single blocks",
    };
    const PASSES = { first: "first pass", hires: "Hires. fix" };
    const KINDS = ["words", "start", "end", "padding"];

    // A word such as "start" is in the web UI's table of translations under a name of ours, as the web UI would else
    // translate it wherever it stands alone, in a prompt as well.
    const ABOUT = "Look inside · ";
    const t = (text, values) => window.pladis.translated(text, values);
    function said(text) {
        const found = t(ABOUT + text);
        return found !== ABOUT + text ? found : text;
    }

    function element(tag, attributes = {}, ...children) {
        const node = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
        node.append(...children);
        return node;
    }

    const state = {};
    for (const tab of ["txt2img", "img2img"]) {
        state[tab] = { seen: "", asked: null, look: null, part: {}, word: "", picture: 0, open: false };
    }

    const root = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const view = (tab) => root().querySelector(`#pladis_${tab}_look_view`);

    // A sheet of heat maps has the infotext of its picture, which is there before it.
    function looked({ infotexts, first }) {
        return infotexts.some((text, place) => place > first && text.includes("PLADIS")
            && infotexts.indexOf(text, first) < place);
    }

    // What the web UI has of its last generation; null without an answer.
    async function ask(part) {
        try {
            const { token } = JSON.parse(root().querySelector("#pladis_txt2img_curve").dataset.facts);
            const answer = await fetch(
                `./pladis/page/look?${new URLSearchParams(part)}`, { headers: { "X-Pladis-Page": token } });
            return answer.ok ? await answer.json() : null;
        } catch {
            return null;
        }
    }

    function gone(tab) {
        if (view(tab)) view(tab).remove();
        window.pladis.measured(tab, null);
    }

    // The panel's live curve shows the weights of all words where the chosen one is looked at most.
    function tell(tab, look, picture, word) {
        const { scale } = look.shown.mix;
        window.pladis.measured(tab, word && scale ? { words: picture.words.map((each) => each.word), word: word.word,
            plain: word.there.plain, pladis: word.there.pladis, from: look.shown.mix } : null);
    }

    async function load(tab) {
        const mine = state[tab];
        const asked = mine.asked = {}; // answers may overtake each other: that of the last question counts
        const look = await ask(mine.part);
        const info = window.pladisGallery.info(tab);
        if (mine.asked !== asked || !info) return;
        const same = look && look.pictures.length > 0
            && look.pictures.every(({ image, infotext }) => info.infotexts[image] === infotext);
        if (same) show(tab, look);
        else if (!mine.look) gone(tab);
        else show(tab, mine.look, t("Nothing else of this picture can be shown: the web UI has drawn others since, or does not answer."));
    }

    function show(tab, look, problem = "") {
        const { stage, steps, layers, own_scale } = look.shown;
        Object.assign(state[tab], { look, part: { stage, steps, layers, own_scale } });
        const before = view(tab);
        const focused = before && before.contains(document.activeElement) ? document.activeElement.id : "";
        const node = draw(tab, look, problem);
        if (before) {
            before.replaceWith(node);
        } else {
            (root().querySelector(`#pladis_${tab}_compare_view`) || window.pladisGallery.place(tab)).after(node);
        }
        if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
    }

    // ---- what is seen ------------------------------------------------------------------------------

    function choice(tab, name, label, values, now, changed, names = NAMES) {
        const id = `pladis_${tab}_look_${name}`;
        const select = element("select", { id });
        for (const value of values) {
            const option = element("option", { value }, names[value] ? said(names[value]) : value);
            option.selected = String(value) === String(now);
            select.append(option);
        }
        select.addEventListener("change", () => changed(select.value));
        return element("span", { class: "pladis-look-choice" }, element("label", { for: id }, label), select);
    }

    function half(source, title, map, size) {
        const box = element("div", { class: "pladis-look-stage" },
            element("img", { src: source, class: "pladis-look-picture", alt: "" }));
        if (map) {
            box.append(element("img", { src: map.image, class: "pladis-look-map",
                alt: t("{half}: mean weight {mean}", { half: title, mean: map.mean.toFixed(3) }) }));
        }
        box.style.setProperty("--ratio", size[0] / size[1]);
        const scale = map ? element("span", { class: "pladis-look-scale" },
            element("span", {}, said("share of attention")), "0",
            element("span", { class: "pladis-look-bar", "aria-hidden": "true" }), map.most.toFixed(2)) : "";
        return element("figure", {}, element("figcaption", {}, element("b", {}, title), scale), box);
    }

    const percent = (part) => (100 * part).toFixed(1).replace(/^-0\.0$/, "0.0");

    function table(rows) {
        const kinds = KINDS.flatMap((kind) => ["plain", "pladis"].map((half) => ({ kind, half })));
        const head = element("thead", {},
            element("tr", {}, element("th", { rowspan: "2", scope: "col" }, said("layer")),
                element("th", { rowspan: "2", scope: "col" }, said("keys kept")),
                ...KINDS.map((kind) => element("th", { colspan: "2", scope: "colgroup" }, `${said(kind)} %`)),
                element("th", { colspan: "2", scope: "colgroup" }, said("entropy"))),
            element("tr", {}, ...[...KINDS, "entropy"].flatMap((kind) => [
                element("th", { scope: "col" }, said("plain")),
                element("th", { scope: "col" }, kind === "entropy" ? said("sparse") : "PLADIS"),
            ])));
        const body = element("tbody", {}, ...rows.map((row) => element("tr", {},
            element("th", { scope: "row" }, row.layer),
            element("td", {}, `${row.keys_kept.toFixed(1)} / ${row.keys}`),
            ...kinds.map(({ kind, half }) => element("td", {}, percent(row[half][kind]))),
            element("td", {}, row.entropy_plain.toFixed(2)), element("td", {}, row.entropy_sparse.toFixed(2)))));
        return element("div", { class: "pladis-look-table", tabindex: "0", role: "region",
            "aria-label": t("Layer by layer") }, element("table", {}, head, body));
    }

    function draw(tab, look, problem = "") {
        const mine = state[tab];
        const redraw = () => {
            const focused = document.activeElement && document.activeElement.id;
            view(tab).replaceWith(draw(tab, look));
            if (focused) document.getElementById(focused).focus();
        };
        const again = (name) => (value) => {
            mine.part = { ...mine.part, [name]: value };
            load(tab);
        };
        const picture = look.pictures[Math.min(mine.picture, look.pictures.length - 1)];
        const source = window.pladisGallery.sources(tab)[picture.image];
        const word = picture.words.find((each) => each.word === mine.word) || picture.words[0];

        tell(tab, look, picture, word);

        const words = element("div", { class: "pladis-look-words", role: "group", "aria-label": said("word") },
            ...picture.words.map((each, number) => {
                const button = element("button", { type: "button", id: `pladis_${tab}_look_word_${number}`,
                    "aria-pressed": String(each === word) }, each.word);
                button.addEventListener("click", () => {
                    mine.word = each.word;
                    redraw();
                });
                return button;
            }));

        const choices = element("div", { class: "pladis-look-choices" },
            choice(tab, "steps", "Steps", look.steps, look.shown.steps, again("steps")),
            choice(tab, "layers", "Layers", look.layers, look.shown.layers, again("layers")));
        if (look.stages.length > 1) {
            choices.append(choice(tab, "stage", "Pass", look.stages, look.shown.stage, again("stage"), PASSES));
        }
        if (look.pictures.length > 1) {
            const numbers = look.pictures.map((_, number) => number);
            const names = Object.fromEntries(numbers.map((number) => [number, String(number + 1)]));
            choices.append(choice(tab, "picture", "Picture", numbers, mine.picture, (number) => {
                mine.picture = Number(number);
                redraw();
            }, names));
        }
        const own = element("input", { type: "checkbox", id: `pladis_${tab}_look_own` });
        own.checked = look.shown.own_scale;
        own.addEventListener("change", () => again("own_scale")(own.checked));
        choices.append(element("label", {}, own, element("span", {}, said("each on its own scale"))));

        const details = element("details", {}, element("summary", {}, "Layer by layer"), table(look.table));
        details.open = mine.open;
        details.addEventListener("toggle", () => { mine.open = details.open; });
        return element("section", { class: "pladis-look", id: `pladis_${tab}_look_view`, "aria-label": t("Look inside") },
            element("b", {}, "Look inside"), words, choices,
            ...(problem ? [element("div", { class: "pladis-look-problem", role: "alert" }, problem)] : []),
            element("div", { class: "pladis-look-halves" },
                half(source, said("plain"), word && word.plain, picture.size),
                half(source, "PLADIS", word && word.pladis, picture.size)),
            ...look.problems.map((each) => element("div", { class: "pladis-look-problem" }, each)),
            details, element("div", { class: "pladis-look-note" },
                t("Looking took {seconds} s.", { seconds: look.seconds.toFixed(1) })));
    }

    // ---- following the gallery -----------------------------------------------------------------------

    function refresh() {
        for (const [tab, mine] of Object.entries(state)) {
            const info = window.pladisGallery.info(tab);
            const images = window.pladisGallery.sources(tab);
            const there = info && looked(info) && images.length >= info.infotexts.length;
            const seen = there ? images.join() : "";
            if (seen === mine.seen) continue;
            Object.assign(mine, { seen, asked: null, look: null, part: {}, picture: 0 });
            if (there) load(tab);
            else gone(tab);
        }
    }

    if (typeof onAfterUiUpdate === "function") onAfterUiUpdate(refresh);
}());
