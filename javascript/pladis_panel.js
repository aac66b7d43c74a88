// The rest of the PLADIS panel: what its head says when closed, the suggestion for the model in use, presets,
// and what gradio leaves out for keyboards and screen readers.
"use strict";

(function () {
    const SETTLED = 400; // ms in which the CFG scale and the checkpoint stayed as they are
    const AGAIN = 3000; // ms until it is asked again for a checkpoint that wasn't loaded, or without an answer: gradio 3
    const TRIES = 3; // drops a question that is asked while the last is open; and how often such a one is asked again

    const NEEDS = { hr_scale: "hr_override", hr_alpha: "hr_override", look_words: "look" }; // does nothing without it

    const { TABS, root, find, t, said, element, facts, values, inSight, on } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, {
        begins: null, last: null, take: "", asked: "", question: 0, tries: 0, timer: 0, set: 0, before: null, at: null,
    }]));
    const choice = (value) => said(value, "Value · ");
    const headOf = (tab, name) => find(tab, name, ".label-wrap");
    const isSet = (now, set) => now === set || (typeof set === "number" && Math.abs(now - set) < 1e-9);

    // ---- what follows the settings -----------------------------------------------------------

    // "on · λ 2 · α 1.5 · d,u": whether it is on, and what is set.
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
        const set = words.join(" · "); // "on" alone would be translated wherever it stands, in a prompt as well
        const text = now.enabled ? t("on · {set}", { set }) : t("off · {set}", { set });
        if (place.textContent !== text) place.textContent = text;
        place.classList.toggle("pladis-on", now.enabled);
    }

    // Whether the settings are those of the preset that choosing this checkpoint sets.
    function isRemembered(tab, now) {
        const { follow: preset } = find(tab, "suggestion").dataset;
        const reason = find(tab, "preset_reason");
        const again = reason.querySelector(".pladis-take");
        return Boolean(preset && again && again.dataset.preset === preset) && isAsSet(reason, now);
    }

    const isAsSet = (place, now) =>
        Object.entries(JSON.parse(place.dataset.sets || "{}")).every(([name, set]) => isSet(now[name], set));

    // While Advanced is closed, only a paste, a preset or another tab can change what is in it: if that
    // leaves something other than its default there, it is to be seen.
    function openAdvanced(tab, now) {
        const last = state[tab].last || facts().defaults; // who is quick has pasted before gradio told anything
        const news = facts().advanced.some((name) => now[name] !== last[name]
            && now[name] !== facts().defaults[name]);
        const head = headOf(tab, "advanced");
        if (news && head.getAttribute("aria-expanded") !== "true") { // its class follows later, after other values perhaps
            head.setAttribute("aria-expanded", "true");
            head.click();
        }
        state[tab].last = now;
    }

    // Of the chosen preset, and of the suggested one: whether it is what is set.
    function changed(tab, now) {
        for (const name of ["preset_reason", "suggestion"]) {
            const place = find(tab, name);
            place.classList.toggle("pladis-as-set", isAsSet(place, now));
        }
    }

    on("values", (tab) => {
        const now = values(tab);
        // What the page begins with; the web UI's own defaults may be another preset's than the list was made with.
        state[tab].begins = state[tab].begins || Object.fromEntries(facts().presets.map((name) => [name, now[name]]));
        state[tab].set = Date.now();
        if (!inSight(tab)) glance(tab, now); // else it is told of "panel" next
        openAdvanced(tab, now);
        for (const [name, needed] of Object.entries(NEEDS)) find(tab, name).inert = !now[needed];
    });

    // ---- the suggestion ----------------------------------------------------------------------

    const cfg = (tab) => {
        const box = root().querySelector(`#${tab}_cfg_scale input[type=number]`);
        return box ? Number.parseFloat(box.value) : NaN;
    };
    let checkpoints = null; // the web UI's list of checkpoints: looked up once, its value is read at each change of the page
    function checkpoint() {
        if (!checkpoints || !checkpoints.isConnected) checkpoints = root().querySelector("#setting_sd_model_checkpoint input");
        return (checkpoints || {}).value;
    }
    const about = (tab) => JSON.stringify([cfg(tab), checkpoint()]);

    // What gradio's hidden buttons of the panel are told of the page.
    function question(tab) {
        const { listed, answers } = find(tab, "suggestion").dataset;
        const { take, begins, question: number } = state[tab];
        return JSON.stringify({ cfg: cfg(tab), preset: take, listed: JSON.parse(listed), question: number,
            begins: answers ? undefined : begins }); // until it has been heard
    }

    // Asks for the suggestion and the list of presets: at once when the panel opens (who is quick with the list is to
    // find a preset of one's own in it), and when the model or CFG is another.
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
    window.addEventListener("focus", () => TABS.forEach(askAnew)); // another tab may have saved a preset, or loaded a model

    document.addEventListener("click", (event) => {
        const take = event.target.closest && event.target.closest(".pladis-take");
        const tab = take && TABS.find((each) => find(each, "enabled").contains(take));
        if (!tab) return;
        setBy(tab, take.dataset.preset);
    });

    // ---- settings that follow the checkpoint -------------------------------------------------

    const AT_ONCE = 2000; // ms: what was set so shortly before a checkpoint was chosen came with it, as by a paste
    const PATIENCE = 60000; // ms in which the web UI is to have taken the checkpoint
    let [chosen, since] = [null, 0];

    function setBy(tab, preset) {
        state[tab].take = preset;
        find(tab, "preset_take").click();
    }

    // Another checkpoint has been chosen: what is set from now on is not to be overridden.
    function noticeCheckpoint() {
        const now = checkpoint();
        if (!now || now === chosen) return;
        for (const tab of chosen ? TABS : []) {
            const mine = state[tab];
            mine.before = Date.now() - mine.set > AT_ONCE && values(tab) ? JSON.stringify(values(tab)) : null;
        }
        [chosen, since] = [now, chosen ? Date.now() : 0];
    }

    // A preset chosen by hand sets its values only when gradio has asked for them.
    document.addEventListener("pointerdown", ({ target }) => TABS.forEach((tab) => {
        if (target.closest(`#pladis_${tab}_preset, #pladis_${tab}_mine, #pladis_${tab}_enabled .pladis-take`)) {
            noticeCheckpoint();
            state[tab].before = null;
        }
    }), true);

    // A checkpoint as the server calls it: without folder, hash and extension.
    const bare = (title) => title.replace(/\s*\[[0-9a-f]+\]$/, "").replace(/^.*[\\/]/, "")
        .replace(/\.(safetensors|ckpt|pt|pth|bin|gguf|sft)$/i, "");

    // The server has answered for that checkpoint: its settings, if nothing else was set since. What was typed into the
    // list of checkpoints and left again is no other checkpoint: the last answer was for the same one.
    function follow(tab) {
        const { checkpoint: answered, follow: preset } = find(tab, "suggestion").dataset;
        const mine = state[tab];
        if (!answered || !chosen) return;
        if (bare(chosen) === answered) {
            if (preset && answered !== mine.at && mine.before === JSON.stringify(values(tab))) setBy(tab, preset);
            [mine.at, mine.before] = [answered, null];
        } else if (about(tab) === mine.asked && Date.now() - since < PATIENCE) { // it hadn't taken it yet
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

    // gradio 3's heads of accordions are not buttons; gradio 4's are, and hold the host's checkbox, which no
    // button may: it moves beside the head.
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

    // gradio 3 leaves the number beside a slider without a name, and writes it in English where it has one; the web UIs
    // translate texts, not the names that gradio 4 gives its lists.
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
        for (const name of ["preset_message", "preset_reason"]) { // gradio writes them anew; what they stand in stays
            find(tab, name).parentElement.setAttribute("aria-live", "polite");
        }
        for (const name of ["enabled", "advanced", "weights", "mine"]) accessibleHead(headOf(tab, name));
    }

    // A "?" beside each label, which shows the control's help while it is pointed at or has the focus.
    function help(tab, name) {
        const block = find(tab, name);
        const text = block.querySelector("[data-testid=block-info] + div, :scope.pladis-check > div:not(.wrap)");
        text.id = `pladis_${tab}_${name}_help`;
        text.classList.add("pladis-help");
        // No button: it would be what gradio's label around it is of, and be pointed at wherever that is.
        const ask = element("span", { class: "pladis-ask", role: "button", tabindex: "0", "aria-label": t("Help"),
            "aria-describedby": text.id }, "?");
        ask.addEventListener("click", (event) => event.preventDefault()); // else the label passes it on
        text.before(ask);
        block.querySelectorAll("input, textarea").forEach((box) => box.setAttribute("aria-describedby", text.id));
    }

    for (const kind of ["click", "keydown"]) {
        document.addEventListener(kind, ({ target, key }) => {
            const shows = target.closest && target.closest(".pladis-ask, .pladis-text");
            if (shows && !key) shows.focus(); // a tap doesn't do that everywhere
            if (shows && key === "Escape") shows.blur();
        });
    }

    on("start", (tab) => {
        accessible(tab);
        facts().helped.forEach((name) => help(tab, name));
    });
    window.pladis.question = question;
}());
