// The row of attention that the chart shows: the words of the prompt box with example weights, or with measured ones
// after a Look inside. Without a prompt it is the example of pladis_math.js.
"use strict";

(function () {
    const MOST = 12; // maximum number of tokens in the chart
    const LONGEST = 12; // maximum width of a token, in Latin letters
    const START = ["<start>", 1.9];
    const END = ["<end>", 0.6];
    // Example logits for the words of a prompt in order; they say nothing about the model's own.
    const EXAMPLE = [2.0, 2.6, 0.7, 1.0, 1.4, 0.3, -0.2, 0.1, -0.1, -0.3];

    // The content words of a prompt, once each, in order, without networks (<lora:a:1>), weights, BREAK and AND. It is
    // an estimate, made without the model's tokenizer. `between`: words to leave out.
    function words(prompt, between = []) {
        const bare = prompt
            .replace(/<[^<>]*>/g, " ")
            .replace(/\b(?:BREAK|AND)\b/g, " ")
            .replace(/:\s*-?\d*\.?\d+(?![\p{L}\p{N}])/gu, " ");
        const found = bare.match(/[\p{L}\p{N}]+(?:['’_-][\p{L}\p{N}]+)*/gu) || [];
        return [...new Set(found)].filter((word) => !between.includes(word.toLowerCase()));
    }

    // A text's approximate width in small Latin letters: CJK characters and some Latin letters are wider.
    const WIDTHS = [[/[\u1100-\u1fff\u2e80-\u{3ffff}]/u, 1.7], [/[MWmw@]/, 1.6], [/[A-Z]/, 1.2]];
    const wide = (text) => [...text].reduce((sum, letter) => sum
        + (WIDTHS.find(([letters]) => letters.test(letter)) || [0, 1])[1], 0);

    function short(word) {
        if (wide(word) <= LONGEST) return word;
        const letters = [...word];
        while (wide(letters.join("")) > LONGEST - 1) letters.pop();
        return `${letters.join("")}…`;
    }

    // The row of a prompt's first words: {kind, tokens, logits, all}; all: how many words there are.
    function ofWords(all) {
        const shown = all.slice(0, EXAMPLE.length);
        return {
            kind: "words", all: all.length, shown: shown.length,
            tokens: [START[0], ...shown.map(short), END[0]],
            logits: [START[1], ...EXAMPLE.slice(0, shown.length), END[1]],
        };
    }

    // The row of a Look inside, the strongest words in order: {kind, tokens, plain, pladis, from, word, all}.
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

    // Stores what a Look inside has measured, {words, plain, pladis, from, word} or null, until the prompt changes.
    function measured(tab, seen) {
        state[tab].look = seen && { prompt: prompt(tab), row: ofLook(seen) };
        changed(tab);
    }

    // The current row; the same object until it changes.
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
