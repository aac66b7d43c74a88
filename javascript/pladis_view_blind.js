// "Blind test": the number of pictures that the script will draw, and the voting below the gallery, pair by pair.
// /pladis/page/votes does not reveal which candidate drew which picture until the votes are in.
"use strict";

(function () {
    const KEYS = { ArrowLeft: "left", ArrowDown: "alike", ArrowRight: "right" };
    const SHIPPED = 24;
    const LONG = 120; // minutes above which the plan is given in hours
    const LATENT = 8; // pixels of a picture's side for one of its latents

    const { TABS, root, find, t, said, element, button, facts, on, show } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, {
        seen: null, tests: [], pace: 0, view: null, busy: false, problem: "", place: null,
    }]));
    const control = (tab, name, at = "") => root().querySelector(`#script_${tab}_blind_test_${name} ${at}`);
    const inUse = (tab) => Boolean(control(tab, "candidates") && control(tab, "candidates").getClientRects().length);

    // ---- requests ------------------------------------------------------------------------------------

    async function ask(path, values, body) {
        const query = new URLSearchParams(values);
        const headers = { "X-Pladis-Page": facts().token, "Content-Type": "application/json" };
        const answer = await fetch(`./pladis/page/votes${path}?${query}`,
            body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
        if (!answer.ok) throw new Error((await answer.json()).detail);
        return answer;
    }

    // Runs `work`, which returns a view; one at a time. An error is shown below the pictures, which stay.
    async function take(tab, work) {
        const mine = state[tab];
        if (mine.busy) return;
        mine.busy = true;
        try {
            const view = await work();
            mine.view = { ...view, sources: view.pair === null ? null : await sources(tab, view) };
            mine.tests = mine.tests.map((test) => (test.id === view.id ? view : test));
            mine.problem = "";
        } catch (error) {
            mine.problem = t("This could not be done:") + ` ${error.message}`;
        }
        mine.busy = false;
        draw(tab);
    }

    const open = (tab, test, result = false) =>
        take(tab, async () => (await ask("", { test, result })).json());
    const post = (tab, body) =>
        take(tab, async () => (await ask("", {}, { test: state[tab].view.id, ...body })).json());

    function vote(tab, answer) {
        const { view } = state[tab];
        if (view && view.pair !== null) post(tab, { pair: view.pair, question: view.question, answer });
    }

    // Both pictures of a pair, loaded before either is shown. They stay if only the question changes.
    async function sources(tab, { id, pair }) {
        const { view } = state[tab];
        if (view && view.sources && view.id === id && view.pair === pair) return view.sources;
        const both = await Promise.all(["left", "right"].map(async (side) =>
            (await ask("/picture", { test: id, pair, side })).blob()));
        if (view && view.sources) view.sources.forEach((each) => URL.revokeObjectURL(each));
        return both.map((blob) => URL.createObjectURL(blob));
    }

    async function save(tab, what, end) {
        const { id } = state[tab].view;
        const blob = await (await ask(`/${what}`, { test: id })).blob();
        const link = element("a", { href: URL.createObjectURL(blob), download: `pladis-blind-test-${id}.${end}` });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }

    // ---- what will be drawn --------------------------------------------------------------------------

    const number = (at) => Number((root().querySelector(`${at} input[type=number]`) || {}).value) || 0;

    function plan(tab) {
        const place = control(tab, "plan");
        const chosen = control(tab, "candidates").querySelectorAll("input:checked").length;
        const sources = [...control(tab, "source").querySelectorAll("input")].findIndex((each) => each.checked);
        const lines = new Set(control(tab, "lines", "textarea").value.split("\n").map((each) => each.trim()));
        const pictures = number(`#script_${tab}_blind_test_pictures`);
        const id = control(tab, "test", ":is(textarea, input)").value.trim();
        const test = state[tab].tests.find((each) => each.id === id);
        const prompts = [1, [...lines].filter(Boolean).length, SHIPPED, SHIPPED][sources];
        const count = test ? test.candidates.length * (test.left_to_draw || test.prompts * pictures)
            : chosen * prompts * pictures;
        const latents = (number(`#${tab}_width`) / LATENT) * (number(`#${tab}_height`) / LATENT);
        const minutes = count * number(`#${tab}_steps`) * latents * state[tab].pace / 60;
        const text = !test && (chosen < 2 || chosen > 4) ? t("Choose two to four candidates.")
            : !minutes ? t("{count} pictures will be drawn.", { count })
                : minutes > LONG ? t("{count} pictures will be drawn, in about {hours} h.", { count, hours: Math.ceil(minutes / 60) })
                    : t("{count} pictures will be drawn, in about {minutes} min.", { count, minutes: Math.ceil(minutes) });
        if (place.textContent !== text) place.textContent = text;
    }

    function more(tab) {
        const box = control(tab, "test", ":is(textarea, input)");
        box.value = state[tab].view.id;
        box.dispatchEvent(new Event("input", { bubbles: true }));
        root().querySelector(`#${tab}_generate`).focus();
        plan(tab);
    }

    // Selects this script in the web UI's list, as a user would.
    async function blindTest(tab) {
        const list = root().querySelector(`#${tab}_script_container #script_list`);
        list.querySelector("input").focus();
        let option = null;
        for (let i = 0; i < 40 && !option; i++) { // until the options exist
            await new Promise((resolve) => { setTimeout(resolve, 50); });
            option = list.querySelector('li[aria-label="Blind test"]');
        }
        if (option) option.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true }));
        list.scrollIntoView({ block: "center" });
    }

    // ---- the view ------------------------------------------------------------------------------------

    const called = (name) => t(said(name, "Preset · "));

    function enlarge(source, alt) {
        const box = element("dialog", { class: "pladis-blind-large", "aria-label": alt },
            button("", { "aria-label": t("Close the picture") }, () => box.close()));
        box.firstChild.append(element("img", { src: source, alt }));
        box.addEventListener("close", () => box.remove());
        document.body.append(box);
        box.showModal();
    }

    function figure(side, source) {
        const name = side === "left" ? t("Enlarge the left picture") : t("Enlarge the right picture");
        const picture = button("", { class: "pladis-blind-picture", "aria-label": name }, () => enlarge(source, name));
        picture.append(element("img", { src: source, alt: "" }));
        return picture;
    }

    function asked(tab, view) {
        const names = { left: t("← Left"), alike: t("↓ Alike"), right: t("Right →") };
        const answers = Object.entries(names).map(([answer, name]) => button(name,
            { id: `pladis_${tab}_blind_${answer}`, class: "pladis-blind-answer" }, () => vote(tab, answer)));
        const question = view.question === "keep" ? t("Which would you keep?") : t("Which follows the prompt better?");
        return [
            element("blockquote", {}, view.prompt),
            element("div", { class: "pladis-blind-pair" }, figure("left", view.sources[0]),
                figure("right", view.sources[1])),
            element("p", { class: "pladis-blind-question", "aria-live": "polite" }, element("b", {}, question)),
            element("div", { class: "pladis-blind-answers" }, ...answers),
        ];
    }

    function results(view) {
        if (!view.results) return [];
        const rows = view.results.map((row) => {
            const question = row.question === "keep" ? t("Which would you keep?") : t("Which follows the prompt better?");
            return element("p", {}, element("b", {}, question), " ", row.said.map(([text, values]) => t(text, {
                ...values, name: called(row.name), other: called(row.other) })).join(" "));
        });
        return [element("div", { class: "pladis-blind-result", role: "status" },
            ...(rows.length ? rows : [t("No votes yet.")]))];
    }

    function chooser(tab, view) {
        const id = `pladis_${tab}_blind_tests`;
        const select = element("select", { id, "aria-label": t("Blind tests") });
        for (const { id: value, made, checkpoint, cfg, judged, pairs } of state[tab].tests) {
            const option = element("option", { value }, `${made} · ${checkpoint} · CFG ${cfg} · ${judged} / ${pairs}`);
            option.selected = value === view.id;
            select.append(option);
        }
        select.addEventListener("change", () => open(tab, select.value));
        return element("div", { class: "pladis-blind-head" }, element("b", {}, t("Blind test")), select,
            element("span", { role: "status" }, t("{judged} of {pairs} judged", view)));
    }

    function draw(tab) {
        const { view, problem } = state[tab];
        const focused = document.activeElement && document.activeElement.id;
        if (!view || !inUse(tab)) return show(tab, "blind", null);
        const keep = element("input", { type: "checkbox", id: `pladis_${tab}_blind_keep` });
        keep.checked = view.keep;
        keep.addEventListener("change", () => post(tab, { keep: keep.checked }));
        const does = (name, text, clicked) => button(text, { id: `pladis_${tab}_blind_${name}` }, clicked);
        const undo = does("undo", t("Undo the last vote"), () => post(tab, { undo: true }));
        undo.disabled = !view.votes;
        show(tab, "blind", element("section", { class: "pladis-blind", "aria-label": t("Blind test") },
            chooser(tab, view), ...(view.pair === null ? [] : asked(tab, view)), ...results(view),
            element("div", { class: "pladis-blind-buttons" }, undo,
                ...(view.results ? [] : [does("result", t("Show the result"), () => open(tab, view.id, true))]),
                does("more", t("More pictures"), () => more(tab)),
                does("html", t("Save as HTML"), () => save(tab, "report", "html")),
                does("json", t("Save as JSON"), () => save(tab, "data", "json")),
                element("label", {}, keep, element("span", {}, t("Also ask which one I would keep")))),
            ...(problem ? [element("p", { class: "pladis-error", role: "alert" }, problem)] : [])));
        const same = focused && document.getElementById(focused);
        if (same) same.focus({ preventScroll: true });
    }

    // The script was selected or left: the web UI shows or hides it without adding or removing elements.
    const sight = new ResizeObserver(() => TABS.forEach(refresh));

    // After a generation, or when the script is selected: loads the list of tests and opens the newest.
    async function refresh(tab) {
        const mine = state[tab];
        const place = control(tab, "candidates");
        if (place && place !== mine.place) {
            mine.place = place;
            sight.observe(place);
        }
        const now = place && place.getClientRects().length ? [`#generation_info_${tab} textarea`, `#html_log_${tab}`]
            .map((at) => root().querySelector(at)).map((node) => (node ? node.value || node.innerText : "")).join() : null;
        if (now !== null) plan(tab);
        if (now === mine.seen) return;
        if (mine.seen === null) control(tab, "refresh").click(); // the candidates: presets may have been saved
        mine.seen = now;
        if (now === null) return draw(tab);
        try {
            Object.assign(mine, await (await ask("", {})).json());
        } catch {
            return; // no answer: the next change of the page repeats the request
        }
        plan(tab);
        if (mine.tests.length) open(tab, mine.tests[0].id);
    }

    document.addEventListener("keydown", (event) => {
        const tab = TABS.find((each) => find(each, "blind_view") && find(each, "blind_view").getClientRects().length);
        const answer = KEYS[event.key];
        if (!tab || event.ctrlKey || event.altKey || event.metaKey) return;
        if (event.target.closest("input, textarea, select, [contenteditable], [role=listbox], .gallery, dialog")) return;
        if (!answer && event.key !== "Backspace") return;
        event.preventDefault();
        if (answer) vote(tab, answer); else post(tab, { undo: true });
    });

    for (const kind of ["input", "change"]) {
        document.addEventListener(kind, ({ target }) => TABS.forEach((tab) => {
            if (inUse(tab) && target.closest(`[id^=script_${tab}_blind_test], #tab_${tab}`)) plan(tab);
        }), true);
    }

    window.pladis.blindTest = blindTest;
    on("page", refresh);
}());
