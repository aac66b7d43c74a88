// The web UI's gallery, for what PLADIS shows below it: its pictures, and what the host says of them.
"use strict";

(function () {
    const root = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const read = { txt2img: {}, img2img: {} };

    // The pictures' addresses, in the gallery's order; the large one and a running generation's preview don't count.
    function sources(tab) {
        for (const where of [".thumbnails img", ".grid-container img"]) {
            const found = [...root().querySelectorAll(`#${tab}_gallery ${where}`)]
                .filter((image) => !image.closest(".livePreview"));
            if (found.length) return found.map((image) => image.src);
        }
        return [];
    }

    // {infotexts, first}: of every picture, and the place of the first that is no grid; null where PLADIS did nothing.
    function info(tab) {
        const box = root().querySelector(`#generation_info_${tab} textarea`);
        const text = box ? box.value : "";
        if (read[tab].text !== text) {
            read[tab] = { text, info: null };
            try {
                const { infotexts, index_of_first_image: first } = JSON.parse(text);
                if (infotexts.join().includes("PLADIS")) read[tab].info = { infotexts, first: first || 0 };
            } catch {
                // empty, or not a generation's
            }
        }
        return read[tab].info;
    }

    // What is to be followed by something of ours: the buttons under the gallery, which act on its pictures.
    function place(tab) {
        return ["image_buttons_TAB", "TAB_gallery_container", "TAB_gallery"]
            .map((id) => root().querySelector(`#${id.replace("TAB", tab)}`)).find(Boolean);
    }

    window.pladisGallery = { sources, info, place };
}());
