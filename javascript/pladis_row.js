// Which row of attention the live curve shows: of the words in the prompt box, with example weights until a look inside
// has measured the picture's own. Without a prompt it is the example of pladis.js.
"use strict";

(function () {
    const MOST = 12; // tokens in the chart
    const LONGEST = 12; // Latin letters' widths of one
    const START = ["<start>", 1.9];
    const END = ["<end>", 0.6];
    // Logits of words as they come in a prompt: an example, by no means what they would get.
    const EXAMPLE = [2.0, 2.6, 0.7, 1.0, 1.4, 0.3, -0.2, 0.1, -0.1, -0.3];

    // The words of a prompt that say something, once each, in order: without networks (<lora:a:1>), weights, BREAK and
    // AND, as far as that can be seen without the model's tokenizer. `between`: words to leave out.
    function words(prompt, between = []) {
        const bare = prompt
            .replace(/<[^<>]*>/g, " ")
            .replace(/\b(?:BREAK|AND)\b/g, " ")
            .replace(/:\s*-?\d*\.?\d+(?![\p{L}\p{N}])/gu, " ");
        const found = bare.match(/[\p{L}\p{N}]+(?:['’_-][\p{L}\p{N}]+)*/gu) || [];
        return [...new Set(found)].filter((word) => !between.includes(word.toLowerCase()));
    }

    // About as wide as so many small Latin letters: Chinese, Japanese and Korean ones are wider, and some of ours.
    const WIDTHS = [[/[\u1100-\u1fff\u2e80-\u{3ffff}]/u, 1.7], [/[MWmw@]/, 1.6], [/[A-Z]/, 1.2]];
    const wide = (text) => [...text].reduce((sum, letter) => sum
        + (WIDTHS.find(([letters]) => letters.test(letter)) || [0, 1])[1], 0);

    function short(word) {
        if (wide(word) <= LONGEST) return word;
        const letters = [...word];
        while (wide(letters.join("")) > LONGEST - 1) letters.pop();
        return `${letters.join("")}…`;
    }

    // {kind, tokens, logits, all}: of a prompt's first words, `all` says how many there are.
    function ofWords(all) {
        const shown = all.slice(0, EXAMPLE.length);
        return {
            kind: "words", all: all.length, shown: shown.length,
            tokens: [START[0], ...shown.map(short), END[0]],
            logits: [START[1], ...EXAMPLE.slice(0, shown.length), END[1]],
        };
    }

    // {kind, tokens, plain, pladis, from, word, all}: of what a look has seen, the strongest words in their order.
    function ofLook({ words: all, plain, pladis, from, word }) {
        const strength = (i) => Math.max(Math.abs(plain[i]), Math.abs(pladis[i]));
        const shown = [...all.keys()].sort((i, j) => strength(j) - strength(i)).slice(0, MOST).sort((i, j) => i - j);
        return {
            kind: "measured", all: all.length, shown: shown.length, word, from,
            tokens: shown.map((i) => short(all[i])),
            plain: shown.map((i) => plain[i]),
            pladis: shown.map((i) => pladis[i]),
        };
    }

    const { TABS, root, facts, changed, tokens, logits } = window.pladis;
    const state = Object.fromEntries(TABS.map((tab) => [tab, {}]));

    function prompt(tab) {
        const box = root().querySelector(`#${tab}_prompt textarea`);
        return box ? box.value : "";
    }

    // What a look inside has seen, {words, plain, pladis, from, word}: it holds as long as the prompt stays. Null: nothing.
    function measured(tab, seen) {
        state[tab].look = seen && { prompt: prompt(tab), row: ofLook(seen) };
        changed(tab);
    }

    // The row of now; the same object as long as it is the same row.
    function row(tab) {
        const mine = state[tab];
        const now = prompt(tab);
        if (mine.look && mine.look.prompt === now) return mine.look.row;
        if (mine.prompt !== now) {
            const all = words(now, facts().between);
            mine.prompt = now;
            mine.row = all.length ? ofWords(all) : { kind: "example", tokens, logits };
        }
        return mine.row;
    }

    Object.assign(window.pladis, { words, wide, row, measured });
}());
