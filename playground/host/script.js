// What the webui's page offers to scripts: gradioApp(), onUiLoaded() and its kin, opts, and the
// functions that buttons call. Loaded before every extension's javascript/*.js.

var opts = {};

function gradioApp() {
    const app = document.querySelector("gradio-app");
    if (!app) return document;
    if (app.shadowRoot) return app.shadowRoot;
    app.getElementById = (id) => document.getElementById(id);
    return app;
}

function get_uiCurrentTab() {
    return gradioApp().querySelector("#tabs > .tab-nav > button.selected");
}

function get_uiCurrentTabContent() {
    return gradioApp().querySelector('#tabs > .tabitem[id^=tab_]:not([style*="display: none"])');
}

const uiUpdateCallbacks = [];
const uiAfterUpdateCallbacks = [];
const uiLoadedCallbacks = [];
const uiTabChangeCallbacks = [];
const optionsChangedCallbacks = [];
const optionsAvailableCallbacks = [];

function onUiUpdate(callback) { uiUpdateCallbacks.push(callback); }
function onAfterUiUpdate(callback) { uiAfterUpdateCallbacks.push(callback); }
function onUiLoaded(callback) { uiLoadedCallbacks.push(callback); }
function onUiTabChange(callback) { uiTabChangeCallbacks.push(callback); }
function onOptionsChanged(callback) { optionsChangedCallbacks.push(callback); }
function onOptionsAvailable(callback) {
    if (Object.keys(opts).length) callback();
    else optionsAvailableCallbacks.push(callback);
}

function executeCallbacks(queue, arg) {
    for (const callback of queue) {
        try {
            callback(arg);
        } catch (e) {
            console.error("error running callback", callback, e);
        }
    }
}

// Options: the hidden #settings_json holds them; gradio changes its value without an event.
function watchOptions() {
    const box = gradioApp().querySelector("#settings_json textarea");
    if (!box || !box.value || box.value === watchOptions.last) return;
    const first = watchOptions.last === undefined;
    watchOptions.last = box.value;
    Object.assign(opts, JSON.parse(box.value));
    if (first) executeCallbacks(optionsAvailableCallbacks);
    executeCallbacks(optionsChangedCallbacks);
}

document.addEventListener("DOMContentLoaded", () => {
    let loaded = false;
    let timer = null;
    let tab = null;
    const observer = new MutationObserver((records) => {
        if (!loaded && gradioApp().querySelector("#txt2img_prompt")) {
            loaded = true;
            setInterval(watchOptions, 300);
            executeCallbacks(uiLoadedCallbacks);
        }
        executeCallbacks(uiUpdateCallbacks, records);
        clearTimeout(timer);
        timer = setTimeout(() => executeCallbacks(uiAfterUpdateCallbacks), 200);
        const now = get_uiCurrentTab();
        if (now && now !== tab) {
            tab = now;
            executeCallbacks(uiTabChangeCallbacks);
        }
    });
    observer.observe(gradioApp(), {childList: true, subtree: true});
});

// Ctrl+Enter generates, Esc interrupts.
document.addEventListener("keydown", (e) => {
    const content = get_uiCurrentTabContent();
    if (!content) return;
    const press = (suffix) => {
        const button = content.querySelector(`button[id$=${suffix}]`);
        if (!button) return;
        button.click();
        e.preventDefault();
    };
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) press("_generate");
    if (e.key === "Escape" && content.querySelector(".generating")) press("_interrupt");
});

/** Tell gradio that an input's value was set by a script. */
function updateInput(target) {
    for (const kind of ["input", "change"]) target.dispatchEvent(new Event(kind, {bubbles: true}));
}

// --- accordions with a checkbox -------------------------------------------------------------

/** Called when Python sets the hidden checkbox of the accordion `id`. */
function inputAccordionChecked(id, checked) {
    const accordion = gradioApp().getElementById(id);
    if (accordion && accordion.setChecked) accordion.setChecked(checked);
}

function setupInputAccordion(accordion) {
    const head = accordion.querySelector(".label-wrap");
    const hidden = gradioApp().querySelector(`#${accordion.id}-checkbox input`);
    if (!head || !hidden || accordion.setChecked) return;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.id = `${accordion.id}-visible-checkbox`;
    box.className = `${hidden.className} input-accordion-checkbox`;
    const isOpen = () => head.classList.contains("open");
    let linked = true; // opening follows the checkbox, until the checkbox is clicked by itself

    const toPython = () => {
        if (hidden.checked === box.checked) return;
        hidden.checked = box.checked;
        updateInput(hidden);
    };
    accordion.setChecked = (checked) => {
        box.checked = checked;
        if (linked && isOpen() !== checked) head.click();
        toPython();
    };
    box.checked = isOpen();
    box.addEventListener("click", (e) => {
        linked = false;
        e.stopPropagation();
    });
    box.addEventListener("input", toPython);
    new MutationObserver(() => {
        accordion.classList.toggle("input-accordion-open", isOpen());
        if (linked && box.checked !== isOpen()) {
            box.checked = isOpen();
            toPython();
        }
    }).observe(head, {attributes: true, attributeFilter: ["class"]});
    const extra = gradioApp().querySelector(`#${accordion.id}-extra`);
    if (extra) head.insertBefore(extra, head.lastElementChild);
    head.querySelector("span").prepend(box);
}

onUiLoaded(() => gradioApp().querySelectorAll(".input-accordion").forEach(setupInputAccordion));

// --- generating ------------------------------------------------------------------------------

function randomId() {
    return `task(${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)})`;
}

/** Poll the progress of a task; show a bar above the gallery and the preview in it. */
function requestProgress(id, tab) {
    const container = gradioApp().getElementById(`${tab}_gallery_container`);
    const gallery = gradioApp().getElementById(`${tab}_gallery`);
    const box = gradioApp().getElementById(`${tab}_generate_box`);
    const bar = document.createElement("div");
    bar.className = "progressDiv";
    bar.innerHTML = '<div class="progress"></div>';
    container.parentNode.insertBefore(bar, container);
    box.classList.add("generating");
    let preview = null;
    let shown = -1;
    let seen = false;
    const started = Date.now();

    const end = () => {
        bar.remove();
        if (preview) preview.remove();
        box.classList.remove("generating");
    };
    const show = (res) => {
        bar.firstChild.style.width = `${(res.progress || 0) * 100}%`;
        const eta = res.eta ? ` ETA: ${Math.ceil(res.eta)}s` : "";
        bar.firstChild.textContent = `${((res.progress || 0) * 100).toFixed(0)}%${eta}`;
        if (!res.live_preview) return;
        shown = res.id_live_preview;
        if (!preview) {
            preview = document.createElement("div");
            preview.className = "livePreview";
            preview.append(document.createElement("img"));
            gallery.prepend(preview);
        }
        preview.firstChild.src = res.live_preview;
    };
    const poll = async() => {
        try {
            const reply = await fetch("./internal/progress", {
                method: "POST",
                headers: {"Content-Type": "application/json"},
                body: JSON.stringify({id_task: id, id_live_preview: shown}),
            });
            const res = await reply.json();
            const gone = !res.active && !res.queued && (seen || Date.now() - started > 40000);
            if (res.completed || gone || !reply.ok) return end();
            seen = seen || res.active;
            show(res);
            setTimeout(poll, opts.live_preview_refresh_period || 300);
        } catch (e) {
            console.error(e);
            end();
        }
    };
    poll();
}

function submitTab(tab, args) {
    const id = randomId();
    requestProgress(id, tab);
    const res = Array.from(args);
    res[0] = id;
    return res;
}

function submit() { return submitTab("txt2img", arguments); }
function submit_img2img() { return submitTab("img2img", arguments); }

// --- moving between tabs ---------------------------------------------------------------------

function switchTab(index, args) {
    gradioApp().querySelectorAll("#tabs > .tab-nav > button")[index].click();
    return Array.from(args);
}

function switch_to_txt2img() { return switchTab(0, arguments); }
function switch_to_img2img() { return switchTab(1, arguments); }

function selected_gallery_index() {
    const content = get_uiCurrentTabContent();
    const thumbs = content ? content.querySelectorAll('[id$="_gallery"] .thumbnail-item.thumbnail-small') : [];
    return Array.from(thumbs).findIndex((x) => x.classList.contains("selected"));
}

function extract_image_from_gallery(gallery) {
    if (!gallery || !gallery.length) return [null];
    return [[gallery[Math.max(0, selected_gallery_index())] || gallery[0]]];
}

onAfterUiUpdate(() => {
    for (const {props} of window.gradio_config ? window.gradio_config.components : []) {
        const element = props.webui_tooltip && props.elem_id && gradioApp().getElementById(props.elem_id);
        if (element && !element.title) element.title = props.webui_tooltip;
    }
});
