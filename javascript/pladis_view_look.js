// "Look inside": below the gallery, heat maps of the attention to each word, plain and with PLADIS, and a table of the
// layers. The data comes from /pladis/page/look, by the name that came with the picture.
"use strict";

(function () {
    const NAMES = {
        all: "all", first: "first third", middle: "middle third", last: "last third",
        d: "down", m: "middle", u: "up", b: "blocks", j: "double blocks", s: "single blocks",
    };
    const PASSES = { first: "first pass", hires: "Hires. fix" };
    const PLACES = ["left", "right", "above", "below", "under", "over", "behind", "beside", "between", "next"];
    const KINDS = ["words", "start", "end", "padding"];

    const { TABS, find, t, said, element, button, facts, on, show, gallery } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, {
        name: "", asked: null, look: null, part: {}, word: "", open: false,
    }]));

    const none = () => t("Nothing else of this picture can be shown: the web UI has drawn others since, or does not answer.");

    // The data; null without an answer.
    async function ask(part) {
        try {
            const answer = await fetch(
                `./pladis/page/look?${new URLSearchParams(part)}`, { headers: { "X-Pladis-Page": facts().token } });
            return answer.ok ? await answer.json() : null;
        } catch {
            return null;
        }
    }

    function gone(tab) {
        show(tab, "look", null);
        window.pladis.measured(tab, null);
    }

    // Passes to the panel's chart the weights of all words at the point that attends most to the selected one.
    function tell(tab, look, picture, word) {
        const { scale } = look.shown.mix;
        window.pladis.measured(tab, word && scale ? { words: picture.words.map((each) => each.word), word: word.word,
            plain: word.there.plain, pladis: word.there.pladis, from: look.shown.mix } : null);
    }

    async function load(tab) {
        const mine = state[tab];
        const asked = mine.asked = {}; // answers may arrive out of order: only the last request's counts
        const look = await ask({ name: mine.name, ...mine.part });
        if (mine.asked !== asked || !gallery(tab)) return;
        if (look) set(tab, look);
        else if (mine.look) set(tab, mine.look, none());
        else show(tab, "look", section(problem(none())));
    }

    function set(tab, look, failed = "") {
        const { stage, steps, layers, own_scale } = look.shown;
        Object.assign(state[tab], { look, part: { stage, steps, layers, own_scale } });
        const focused = document.activeElement && document.activeElement.id;
        show(tab, "look", draw(tab, look, failed));
        if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
    }

    // ---- the view ----------------------------------------------------------------------------------

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

    // One half: the picture with a map over the part that was sampled (a crop if only the mask was inpainted).
    function half(source, title, map, { size, box: place }) {
        const box = element("div", { class: "pladis-look-stage" },
            element("img", { src: source, class: "pladis-look-picture", alt: "" }));
        if (map) {
            const shown = element("img", { src: map.image, class: "pladis-look-map",
                alt: t("{half}: mean weight {mean}", { half: title, mean: map.mean.toFixed(3) }) });
            ["left", "top", "width", "height"].forEach((side, i) => { shown.style[side] = `${100 * place[i]}%`; });
            box.append(shown);
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

    const section = (...parts) => element("section", { class: "pladis-look", "aria-label": t("Look inside") },
        element("b", {}, "Look inside"), ...parts);
    const problem = (text) => element("div", { class: "pladis-look-problem", role: "alert" }, text);

    // A guess at the first noun: a word that no other word of the prompt follows directly, except one of place.
    function noun({ words }, infotext) {
        const all = words.map(({ word }) => word);
        return words.find(({ word }) => {
            const [, next] = / *(\S*)/.exec(infotext.slice(infotext.indexOf(word) + word.length));
            return !PLACES.includes(word) && (PLACES.includes(next) || !all.includes(next));
        }) || words[0];
    }

    function draw(tab, look, failed = "") {
        const mine = state[tab];
        const again = (name) => (value) => {
            mine.part = { ...mine.part, [name]: value };
            load(tab);
        };
        const { chosen, images, infotexts, looks } = gallery(tab);
        const picture = look.pictures[looks.get(chosen).number];
        const source = images[chosen];
        const word = picture.words.find((each) => each.word === mine.word) || noun(picture, infotexts[chosen]);

        tell(tab, look, picture, word);

        const words = element("div", { class: "pladis-choices", role: "group", "aria-label": said("word") },
            ...picture.words.map((each, number) => button(each.word, {
                id: `pladis_${tab}_look_word_${number}`, "aria-pressed": String(each === word) }, () => {
                mine.word = each.word;
                set(tab, look);
            })));

        const choices = element("div", { class: "pladis-look-choices" },
            choice(tab, "steps", "Steps", look.steps, look.shown.steps, again("steps")),
            choice(tab, "layers", "Layers", look.layers, look.shown.layers, again("layers")));
        if (look.stages.length > 1) {
            choices.append(choice(tab, "stage", "Pass", look.stages, look.shown.stage, again("stage"), PASSES));
        }
        const own = element("input", { type: "checkbox", id: `pladis_${tab}_look_own` });
        own.checked = look.shown.own_scale;
        own.addEventListener("change", () => again("own_scale")(own.checked));
        choices.append(element("label", {}, own, element("span", {}, said("separate colour scales"))));

        const details = element("details", {}, element("summary", {}, "Layer by layer"), table(look.table));
        details.open = mine.open;
        details.addEventListener("toggle", () => { mine.open = details.open; });
        return section(words, choices, ...(failed ? [problem(failed)] : []),
            element("div", { class: "pladis-look-halves" },
                half(source, said("plain"), word && word.plain, picture),
                half(source, "PLADIS", word && word.pladis, picture)),
            ...look.problems.map((each) => element("div", { class: "pladis-look-problem" }, each)),
            details, element("div", { class: "pladis-look-note" },
                t("Look inside took {seconds} s.", { seconds: look.seconds.toFixed(1) })));
    }

    // ---- following the gallery -----------------------------------------------------------------------

    on("gallery", (tab) => {
        const mine = state[tab];
        const shown = gallery(tab);
        const there = shown && shown.images.length >= shown.infotexts.length && shown.looks.get(shown.chosen);
        const name = there ? there.name : "";
        if (name === mine.name) {
            if (mine.look) set(tab, mine.look); // another picture may be selected
            return;
        }
        Object.assign(mine, { name, asked: null, look: null, part: {} });
        if (name) load(tab);
        else gone(tab);
    });
}());
