// The panel: the summary in its title, the suggested preset, settings that follow the checkpoint, and what gradio lacks
// for keyboards and screen readers.
"use strict";

(function () {
    const SETTLED = 400; // ms without a change of CFG scale or checkpoint before the server is asked
    const AGAIN = 3000; // ms before the question is repeated: the checkpoint is not loaded yet, or there is no answer
    const TRIES = 3; // repetitions without an answer: gradio 3 drops a question that is asked during another

    const NEEDS = { hr_scale: "hr_override", hr_alpha: "hr_override", look_words: "look" }; // inert without it

    const { TABS, root, find, t, said, element, facts, values, inSight, on } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, {
        begins: null, last: null, take: "", asked: "", question: 0, tries: 0, timer: 0, set: 0, before: null, at: null,
    }]));
    const choice = (value) => said(value, "Value · ");
    const headOf = (tab, name) => find(tab, name, ".label-wrap");
    const isSet = (now, set) => now === set || (typeof set === "number" && Math.abs(now - set) < 1e-9);

    // ---- the title ---------------------------------------------------------------------------

    // The summary in the title: "on · λ 2 · α 1.5 · d,u".
    function glance(tab, now) {
        const words = [];
        for (const [name, [pattern, always]] of Object.entries(facts().glance)) {
            const set = now[name];
            const value = typeof set === "number" ? Number(set.toFixed(3)) : choice(set);
            if (set !== null && (always || set !== facts().defaults[name])) words.push(t(pattern, { value }));
        }
        const head = headOf(tab, "enabled");
        let place = head.querySelector(".pladis-glance");
        if (!place) {
            place = element("span", { class: "pladis-glance" });
            head.insertBefore(place, head.lastElementChild);
        }
        if (isRemembered(tab, now)) words.push(t("as remembered for this checkpoint"));
        const set = words.join(" · "); // "on" alone would also be translated where it is a word of a prompt
        const text = now.enabled ? t("on · {set}", { set }) : t("off · {set}", { set });
        if (place.textContent !== text) place.textContent = text;
        place.classList.toggle("pladis-on", now.enabled);
    }

    // Whether the settings are the ones remembered for this checkpoint.
    function isRemembered(tab, now) {
        const { follow: preset } = find(tab, "suggestion").dataset;
        const reason = find(tab, "preset_reason");
        const again = reason.querySelector(".pladis-take");
        return Boolean(preset && again && again.dataset.preset === preset) && isAsSet(reason, now);
    }

    const isAsSet = (place, now) =>
        Object.entries(JSON.parse(place.dataset.sets || "{}")).every(([name, set]) => isSet(now[name], set));

    // While Advanced is closed, only a paste, a preset or the other tab can change its settings. It opens if one of them
    // then differs from its default.
    function openAdvanced(tab, now) {
        const last = state[tab].last || facts().defaults; // a paste may come before gradio has sent any values
        const news = facts().advanced.some((name) => now[name] !== last[name]
            && now[name] !== facts().defaults[name]);
        const head = headOf(tab, "advanced");
        if (news && head.getAttribute("aria-expanded") !== "true") { // its class changes later
            head.setAttribute("aria-expanded", "true");
            head.click();
        }
        state[tab].last = now;
    }

    // Marks the chosen and the suggested preset if the settings equal it.
    function changed(tab, now) {
        for (const name of ["preset_reason", "suggestion"]) {
            const place = find(tab, name);
            place.classList.toggle("pladis-as-set", isAsSet(place, now));
        }
    }

    on("values", (tab) => {
        const now = values(tab);
        // The page's initial settings: the web UI's own defaults may equal another preset than the list's first.
        state[tab].begins = state[tab].begins || Object.fromEntries(facts().presets.map((name) => [name, now[name]]));
        state[tab].set = Date.now();
        if (!inSight(tab)) glance(tab, now); // otherwise "panel" follows
        openAdvanced(tab, now);
        for (const [name, needed] of Object.entries(NEEDS)) find(tab, name).inert = !now[needed];
    });

    // ---- the suggestion ----------------------------------------------------------------------

    const cfg = (tab) => {
        const box = root().querySelector(`#${tab}_cfg_scale input[type=number]`);
        return box ? Number.parseFloat(box.value) : NaN;
    };
    let checkpoints = null; // the web UI's list of checkpoints, looked up once
    function checkpoint() {
        if (!checkpoints || !checkpoints.isConnected) checkpoints = root().querySelector("#setting_sd_model_checkpoint input");
        return (checkpoints || {}).value;
    }
    const about = (tab) => JSON.stringify([cfg(tab), checkpoint()]);

    // What the hidden buttons of the panel send to the server.
    function question(tab) {
        const { listed, answers } = find(tab, "suggestion").dataset;
        const { take, begins, question: number } = state[tab];
        return JSON.stringify({ cfg: cfg(tab), preset: take, listed: JSON.parse(listed), question: number,
            begins: answers ? undefined : begins }); // until the first answer
    }

    // Asks for the suggestion and the list of presets: when the panel opens, at once so that the list is complete, and
    // when the model or the CFG scale has changed.
    function ask(tab) {
        const mine = state[tab];
        const { answers, again } = find(tab, "suggestion").dataset;
        const open = mine.question > 0 && answers !== String(mine.question);
        if (!inSight(tab) || Number.isNaN(cfg(tab)) || find(tab, "preset").contains(document.activeElement)) return;
        if (open ? mine.tries >= TRIES : about(tab) === mine.asked && again === undefined) return;
        mine.tries = open ? mine.tries + 1 : 0;
        mine.question += 1;
        mine.asked = about(tab);
        find(tab, "preset_ask").click();
        later(tab, AGAIN);
    }

    function later(tab, wait) {
        clearTimeout(state[tab].timer);
        state[tab].timer = setTimeout(ask, wait, tab);
    }

    on("panel", (tab) => {
        changed(tab, values(tab));
        if (about(tab) !== state[tab].asked) later(tab, SETTLED);
    });

    function askAnew(tab) {
        state[tab].asked = "";
        ask(tab);
    }

    on("sight", askAnew);
    window.addEventListener("focus", () => TABS.forEach(askAnew)); // another page may have saved a preset or loaded a model

    document.addEventListener("click", (event) => {
        const take = event.target.closest && event.target.closest(".pladis-take");
        const tab = take && TABS.find((each) => find(each, "enabled").contains(take));
        if (!tab) return;
        setBy(tab, take.dataset.preset);
    });

    // ---- settings that follow the checkpoint -------------------------------------------------

    const AT_ONCE = 2000; // ms: settings changed so shortly before the checkpoint came with it, as by a paste
    const PATIENCE = 60000; // ms to wait until the web UI has switched to the checkpoint
    let [chosen, since] = [null, 0];

    function setBy(tab, preset) {
        state[tab].take = preset;
        find(tab, "preset_take").click();
    }

    // Another checkpoint was chosen. Settings that change from now on must not be overridden.
    function noticeCheckpoint() {
        const now = checkpoint();
        if (!now || now === chosen) return;
        for (const tab of chosen ? TABS : []) {
            const mine = state[tab];
            mine.before = Date.now() - mine.set > AT_ONCE && values(tab) ? JSON.stringify(values(tab)) : null;
        }
        [chosen, since] = [now, chosen ? Date.now() : 0];
    }

    // A preset chosen by hand: its values arrive only after gradio's request.
    document.addEventListener("pointerdown", ({ target }) => TABS.forEach((tab) => {
        if (target.closest(`#pladis_${tab}_preset, #pladis_${tab}_mine, #pladis_${tab}_enabled .pladis-take`)) {
            noticeCheckpoint();
            state[tab].before = null;
        }
    }), true);

    // A checkpoint's name as the server sends it, without folder, hash and extension.
    const bare = (title) => title.replace(/\s*\[[0-9a-f]+\]$/, "").replace(/^.*[\\/]/, "")
        .replace(/\.(safetensors|ckpt|pt|pth|bin|gguf|sft)$/i, "");

    // Applies the settings remembered for a checkpoint once the server has answered for it, if no setting has changed
    // since. Text typed into the list of checkpoints and abandoned is no other checkpoint: the answer stays the same.
    function follow(tab) {
        const { checkpoint: answered, follow: preset } = find(tab, "suggestion").dataset;
        const mine = state[tab];
        if (!answered || !chosen) return;
        if (bare(chosen) === answered) {
            if (preset && answered !== mine.at && mine.before === JSON.stringify(values(tab))) setBy(tab, preset);
            [mine.at, mine.before] = [answered, null];
        } else if (about(tab) === mine.asked && Date.now() - since < PATIENCE) { // the web UI has not switched yet
            clearTimeout(mine.timer);
            mine.timer = setTimeout(askAnew, AGAIN, tab);
        }
    }

    on("page", noticeCheckpoint);
    on("panel", (tab) => {
        follow(tab);
        glance(tab, values(tab));
    });

    // ---- keyboards and screen readers --------------------------------------------------------

    const heads = new MutationObserver((records) => records.forEach(({ target }) => expanded(target)));
    const expanded = (head) => head.setAttribute("aria-expanded", String(head.classList.contains("open")));

    // The heads of gradio 3's accordions are not buttons. gradio 4's are, but contain the web UI's checkbox, which a
    // button must not: it moves beside the head.
    function accessibleHead(head) {
        if (head.tagName !== "BUTTON") {
            head.setAttribute("role", "button");
            head.tabIndex = 0;
            head.addEventListener("keydown", (event) => {
                if (event.target !== head || !["Enter", " "].includes(event.key)) return;
                event.preventDefault();
                head.click();
            });
        }
        expanded(head);
        heads.observe(head, { attributeFilter: ["class"] });
        const box = head.querySelector("input[type=checkbox]");
        if (!box) return;
        box.setAttribute("aria-label", t("PLADIS on or off"));
        box.classList.add("pladis-switch");
        head.before(box);
    }

    // Names for screen readers: gradio 3 gives the number beside a slider none, and the web UIs translate only texts.
    function accessible(tab) {
        for (const [name, label] of Object.entries(facts().sliders)) {
            find(tab, name).querySelectorAll("input:not([type=checkbox])")
                .forEach((box) => box.setAttribute("aria-label", t(label)));
        }
        find(tab, "enabled").querySelectorAll("input[role=listbox][aria-label]")
            .forEach((box) => box.setAttribute("aria-label", t(box.getAttribute("aria-label"))));
        for (const name of facts().choices) {
            find(tab, name).querySelectorAll("label span").forEach((span) => { span.textContent = choice(span.textContent); });
        }
        for (const name of ["preset_message", "preset_reason"]) { // gradio replaces the elements, not their parents
            find(tab, name).parentElement.setAttribute("aria-live", "polite");
        }
        for (const name of ["enabled", "advanced", "weights", "mine"]) accessibleHead(headOf(tab, name));
    }

    // A "?" beside each label that shows the control's help on hover and focus.
    function help(tab, name) {
        const block = find(tab, name);
        const text = block.querySelector("[data-testid=block-info] + div, :scope.pladis-check > div:not(.wrap)");
        text.id = `pladis_${tab}_${name}_help`;
        text.classList.add("pladis-help");
        // A span, because gradio's label would take a button as its control and activate it.
        const ask = element("span", { class: "pladis-ask", role: "button", tabindex: "0", "aria-label": t("Help"),
            "aria-describedby": text.id }, "?");
        ask.addEventListener("click", (event) => event.preventDefault()); // or the label activates its control
        text.before(ask);
        block.querySelectorAll("input, textarea").forEach((box) => box.setAttribute("aria-describedby", text.id));
    }

    for (const kind of ["click", "keydown"]) {
        document.addEventListener(kind, ({ target, key }) => {
            const shows = target.closest && target.closest(".pladis-ask, .pladis-text");
            if (shows && !key) shows.focus(); // not every browser does that on a tap
            if (shows && key === "Escape") shows.blur();
        });
    }

    on("start", (tab) => {
        accessible(tab);
        facts().helped.forEach((name) => help(tab, name));
    });
    window.pladis.question = question;
}());
