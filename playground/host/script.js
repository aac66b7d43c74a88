// What the webui's page offers to scripts: gradioApp(), onUiLoaded() and its kin, and the functions that
// buttons call. Loaded before every extension's javascript/*.js.

function gradioApp() {
    const app = document.querySelector("gradio-app");
    if (!app) return document;
    app.getElementById = (id) => document.getElementById(id);
    return app;
}

function get_uiCurrentTabContent() {
    return gradioApp().querySelector('#tabs > .tabitem[id^=tab_]:not([style*="display: none"])');
}

// --- callbacks: each of these functions takes one ---------------------------------------------

const uiCallbacks = {};
for (const name of ["onUiUpdate", "onAfterUiUpdate", "onUiLoaded"]) {
    uiCallbacks[name] = [];
    window[name] = (callback) => uiCallbacks[name].push(callback);
}

function executeCallbacks(name, arg) {
    for (const callback of uiCallbacks[name]) {
        try {
            callback(arg);
        } catch (e) {
            console.error("error running callback", callback, e);
        }
    }
}

document.addEventListener("DOMContentLoaded", () => {
    let loaded = false;
    let timer = null;
    new MutationObserver((records) => {
        if (!loaded && gradioApp().querySelector("#txt2img_prompt")) {
            loaded = true;
            executeCallbacks("onUiLoaded");
        }
        executeCallbacks("onUiUpdate", records);
        clearTimeout(timer);
        timer = setTimeout(() => executeCallbacks("onAfterUiUpdate"), 200);
    }).observe(gradioApp(), {childList: true, subtree: true});
});

// Ctrl+Enter generates, Esc interrupts.
document.addEventListener("keydown", (e) => {
    const wanted = e.key === "Enter" && (e.ctrlKey || e.metaKey) ? "[id$=_generate]"
        : e.key === "Escape" ? ".generating [id$=_interrupt]" : null;
    const button = wanted && get_uiCurrentTabContent().querySelector(wanted);
    if (button) button.click();
});

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
        for (const kind of ["input", "change"]) hidden.dispatchEvent(new Event(kind, {bubbles: true}));
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
        if (!linked || box.checked === isOpen()) return;
        box.checked = isOpen();
        toPython();
    }).observe(head, {attributes: true, attributeFilter: ["class"]});
    head.querySelector("span").prepend(box);
}

onUiLoaded(() => gradioApp().querySelectorAll(".input-accordion").forEach(setupInputAccordion));

// --- generating ------------------------------------------------------------------------------

/** Poll the progress of a task; show a bar above the gallery, and the preview in place of the old result. */
function requestProgress(id, tab) {
    const [results, container, gallery, box] = ["results", "gallery_container", "gallery", "generate_box"]
        .map((name) => gradioApp().getElementById(`${tab}_${name}`));
    const bar = document.createElement("div");
    bar.className = "progressDiv";
    bar.innerHTML = '<div class="progress"></div>';
    container.parentNode.insertBefore(bar, container);
    const preview = document.createElement("div");
    preview.className = "livePreview";
    const pictures = () => Array.from(gallery.querySelectorAll(":scope > :not(.livePreview) img"), (x) => x.src).join();
    const before = pictures();
    gallery.prepend(preview);
    for (const x of [box, results]) x.classList.add("generating");
    let shown = -1;

    const end = (tries = 20) => {
        if (tries && pictures() === before) return setTimeout(end, 50, tries - 1); // until gradio shows the new ones
        for (const x of [bar, preview]) x.remove();
        for (const x of [box, results]) x.classList.remove("generating");
    };
    const show = (res) => {
        const percent = ((res.progress || 0) * 100).toFixed(0);
        bar.firstChild.style.width = `${percent}%`;
        bar.firstChild.textContent = `${percent}%${res.eta ? ` ETA: ${Math.ceil(res.eta)}s` : ""}`;
        if (!res.live_preview) return;
        shown = res.id_live_preview;
        preview.innerHTML = `<img src="${res.live_preview}">`;
    };
    const poll = async() => {
        try {
            const reply = await fetch("./internal/progress", {
                method: "POST",
                headers: {"Content-Type": "application/json"},
                body: JSON.stringify({id_task: id, id_live_preview: shown}),
            });
            const res = await reply.json();
            if (res.completed || !reply.ok) return end();
            show(res);
            setTimeout(poll, 300);
        } catch (e) {
            console.error(e);
            end();
        }
    };
    poll();
}

/** The arguments of "Generate", with the name of a new task as the first. */
function submitTab(tab, args) {
    const id = `task(${Math.random().toString(36).slice(2)})`;
    requestProgress(id, tab);
    return [id, ...Array.from(args).slice(1)];
}

function submit_txt2img() { return submitTab("txt2img", arguments); }
function submit_img2img() { return submitTab("img2img", arguments); }

// --- moving between tabs ---------------------------------------------------------------------

function switchTab(index, args) {
    gradioApp().querySelectorAll("#tabs > .tab-nav > button")[index].click();
    return Array.from(args);
}

function switch_to_txt2img() { return switchTab(0, arguments); }
function switch_to_img2img() { return switchTab(1, arguments); }

function extract_image_from_gallery(gallery) {
    const thumbs = get_uiCurrentTabContent().querySelectorAll('[id$="_gallery"] .thumbnail-item.thumbnail-small');
    const selected = Array.from(thumbs).findIndex((x) => x.classList.contains("selected"));
    return gallery && gallery.length ? [[gallery[Math.max(0, selected)]]] : [null];
}
