"""The presets in the panel: the list, the suggestion for the model in use, and the user's own presets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr

from lib_pladis.json_file import FileError
from lib_pladis.presets import BUILT_IN, PRESET_SETS, PRESETS, Preset, PresetError, read_text
from lib_pladis.settings import Settings, SettingsError
from lib_pladis.suggestion import Model, Suggestion, suggest
from lib_pladis.webui import languages, model, options, page
from lib_pladis.webui.blind.store import STORE as TESTS
from lib_pladis.webui.own_presets import STORE, OwnPresets, remembered_as

JS = "js" if int(gr.__version__.split(".")[0]) >= 4 else "_js"
QUIET: dict[str, Any] = {"show_progress": False, "queue": False}
HIDDEN = ["pladis-hidden"]

LABELS = {
    "preset": "Preset",
    "mine": "My presets",
    "name": "Name",
    "save": "Save these settings",
    "rename": "Rename",
    "delete": "Delete",
    "remember": "Remember for this checkpoint",
    "text": "As text, to share",
    "show": "Show as text",
    "add": "Add from text",
}
HELP = {
    "preset": "Sets Scale and everything under Advanced except the Hires. fix override.",
    "name": "For a new preset, or the new name of the chosen one. Leave it empty to overwrite the chosen one.",
    "text": "Copy this text to share the preset, or paste one.",
}
SAID = {
    "saved": "Saved:",
    "renamed": "Renamed to:",
    "remembered": "Remembered for this checkpoint:",
    "not_restored": "Saved for this checkpoint. To restore it automatically, tick the option in Settings → PLADIS:",
    "deleted": "Deleted. Its text is below; “Add from text” restores it:",
    "added": "Added and applied:",
    "shown": "The settings above, as text:",
}


class PresetPanel:
    """Built in steps, each where it belongs in the panel: `__init__` (the list), `say`, `manage`, `connect`."""

    def __init__(self, tab: str, store: OwnPresets = STORE) -> None:
        self.tab = tab
        self.store = store
        self._heard = 0
        self._translations = languages.translations()
        self._listed_first = self._listing(self._own())
        self.chosen = self._unsaved(
            gr.Dropdown(
                choices=self._listed_first,
                value=self._called(PRESETS[0].name),
                label=LABELS["preset"],
                info=HELP["preset"],
                elem_id=self._id("preset"),
            )
        )

    def say(self) -> None:
        """Add a line on the chosen preset and a line with the suggested one."""
        with gr.Column(elem_classes=["pladis-lines"]):
            self.reason = gr.HTML(self._reason(PRESETS[0]))
            self.suggestion = gr.HTML(page.suggestion(self._id("suggestion"), self._listed_first))

    def manage(self) -> None:
        """Add the controls to save, rename, delete and share presets."""
        with gr.Accordion(LABELS["mine"], open=False, elem_id=self._id("mine")):
            self.name = self._textbox("name", max_lines=1)
            with gr.Row(elem_classes=["pladis-buttons"]):
                self.save, self.rename, self.delete = map(self._button, ("save", "rename", "delete"))
                self.remember = self._button("remember")
            self.message = gr.HTML(page.message(self._id("preset_message")))
            self.text = self._textbox("text", lines=2, max_lines=20, show_copy_button=True)
            with gr.Row(elem_classes=["pladis-buttons"]):
                self.show, self.add = map(self._button, ("show", "add"))
            # what the page's script says, and clicks
            self.said = self._unsaved(gr.Textbox("", show_label=False, elem_id=self._id("said"), elem_classes=HIDDEN))
            self.ask = self._button("ask", "ask", hidden=True)
            self.take = self._button("take", "take", hidden=True)

    def connect(self, made: Mapping[str, Any]) -> None:
        """Connect everything to the settings' components, by name."""
        settings = [made[name] for name in PRESET_SETS]
        taken = [*settings, self.chosen, self.reason, self.message]
        listed = [self.chosen, self.reason, self.message]
        self.chosen.select(self._select, None, taken, **QUIET)
        said = f"() => [pladis.question({json.dumps(self.tab)})]"
        self.ask.click(self._ask, [self.said], [self.suggestion, *listed], **{JS: said}, **QUIET)
        self.take.click(self._take, [self.said], taken, **{JS: said}, **QUIET)
        self.save.click(self._save, [self.name, self.chosen, *settings], [*listed, self.name], **QUIET)
        self.remember.click(self._remember, settings, listed, **QUIET)
        self.rename.click(self._rename, [self.name, self.chosen], [*listed, self.name], **QUIET)
        self.delete.click(self._delete, [self.chosen], [*listed, self.text], **QUIET)
        self.show.click(self._show, [self.name, self.chosen, *settings], [self.text, self.message], **QUIET)
        self.add.click(self._add, [self.text], taken, **QUIET)

    # ---- what happens ------------------------------------------------------------------------

    def _select(self, event: gr.SelectData) -> list[Any]:
        return self._choose(self._meant(str(event.value)))

    def _choose(self, name: str) -> list[Any]:
        return self._guard(lambda: self._set(self.store.get(name)), len(PRESET_SETS) + 3)

    def _take(self, said: str) -> list[Any]:
        known = json.loads(said)
        own = _suggested(model.in_use(), float(known["cfg"])).own
        if own is None or own.name != known["preset"]:
            return self._choose(known["preset"])
        return self._guard(lambda: self._set(Preset(own.name, "", own.sets)), len(PRESET_SETS) + 3)

    def _ask(self, asked: str) -> list[Any]:
        """The suggestion for the page's CFG scale; the list, if the page has another; the first time also the preset
        that matches the page's initial settings.

        (gradio 4 interrupts typing in a list when it is given choices, even the same ones.)
        """
        known = json.loads(asked)
        listed: dict[str, Any] = {}
        reason, message, names = gr.update(), gr.update(), known["listed"]
        try:
            names = self._names()
            if names != known["listed"]:
                listed["choices"] = names
            begins = self._same(known.get("begins"))
            if begins is not None:
                listed["value"], reason = self._called(begins.name), self._reason(begins)
            notice = self._news()
        except FileError as error:
            notice = error
        if notice is not None:
            message = page.failure(self._id("preset_message"), notice)
        in_use = model.in_use()
        found = _suggested(in_use, float(known["cfg"]))
        said = [self._translations.get(text, text).format(**self._names_in(values)) for text, values in found.said]
        answer = page.suggestion(
            self._id("suggestion"),
            names,
            found,
            self._called(found.preset),
            int(known.get("question", 0)),
            said,
            in_use.name,
            self._follow(in_use.name),
        )
        return [answer, gr.update(**listed), reason, message]

    def _save(self, name: str, chosen: str, *values: Any) -> list[Any]:
        chosen = self._meant(chosen)

        def work() -> list[Any]:
            of_own = chosen in self._own()
            reason = self.store.get(chosen).reason if of_own else ""
            preset = Preset(name.strip() or (chosen if of_own else ""), reason, _values(values))
            saved = self.store.save(preset, replacing=chosen)
            return [*self._listed(saved, SAID["saved"]), ""]

        return self._guard(work, 4)

    def _remember(self, *values: Any) -> list[Any]:
        """Save the settings as a preset with the checkpoint's name."""

        def work() -> list[Any]:
            name = remembered_as(model.in_use().name)
            saved = self.store.save(Preset(name, "", _values(values)), replacing=name)
            return self._listed(saved, SAID["remembered" if options.follows_checkpoint() else "not_restored"])

        return self._guard(work, 3)

    def _rename(self, name: str, chosen: str) -> list[Any]:
        chosen = self._meant(chosen)
        return self._guard(lambda: [*self._listed(self.store.rename(chosen, name), SAID["renamed"]), ""], 4)

    def _delete(self, chosen: str) -> list[Any]:
        chosen = self._meant(chosen)

        def work() -> list[Any]:
            gone = self.store.delete(chosen)
            message = page.message(self._id("preset_message"), SAID["deleted"], gone.name)
            listed = gr.update(choices=self._names(), value=None)
            return [listed, page.reason(self._id("preset_reason")), message, gone.as_text()]

        return self._guard(work, 4)

    def _show(self, name: str, chosen: str, *values: Any) -> list[Any]:
        chosen = self._meant(chosen)

        def work() -> list[Any]:
            known = {preset.name: preset for preset in PRESETS} | self.store.all()
            of = known.get(chosen or "")
            same = of is not None and of.sets == Preset("", "", _values(values)).sets
            preset = Preset(name.strip() or chosen or "", of.reason if of and same else "", _values(values))
            read_text(preset.as_text())
            return [
                preset.as_text(),
                page.message(self._id("preset_message"), SAID["shown"], self._called(preset.name)),
            ]

        return self._guard(work, 2)

    def _add(self, text: str) -> list[Any]:
        def work() -> list[Any]:
            added = self.store.add(read_text(text))
            return [*added.sets.values(), *self._listed(added, SAID["added"])]

        return self._guard(work, len(PRESET_SETS) + 3)

    def _guard(self, work: Callable[[], list[Any]], outputs: int) -> list[Any]:
        """The result of `work`; or, if it can't be done, only a message, which is the third of four outputs, else the
        last."""
        try:
            return work()
        except FileError as error:
            answer = [gr.update() for _ in range(outputs)]
            said = PresetError(error.text, self._called(error.detail))
            answer[2 if outputs == 4 else -1] = page.failure(self._id("preset_message"), said)
            return answer

    # ---- pieces ------------------------------------------------------------------------------

    def _set(self, preset: Preset) -> list[Any]:
        names, called = self._names(), self._called(preset.name)
        listed = gr.update(choices=names, value=called if called in names else None)  # a blind test's has no name there
        return [*preset.sets.values(), listed, self._reason(preset), page.message(self._id("preset_message"))]

    def _listed(self, preset: Preset, said: str) -> list[Any]:
        """The list with this preset chosen, its reason, and a message."""
        return [
            gr.update(choices=self._names(), value=self._called(preset.name)),
            self._reason(preset),
            page.message(self._id("preset_message"), said, self._called(preset.name)),
        ]

    def _reason(self, preset: Preset) -> str:
        called = self._called(preset.name)
        return page.reason(self._id("preset_reason"), preset.name, preset.reason, preset.sets, called)

    def _same(self, values: Mapping[str, Any] | None) -> Preset | None:
        """The preset with these values; None if there is none, or if it is the one that the list starts with."""
        if not values or values == PRESETS[0].sets:
            return None
        return next((each for each in (*PRESETS, *self.store.all().values()) if each.sets == values), None)

    def _news(self) -> FileError | None:
        """The last of the store's messages that this panel has not shown."""
        so_far = len(self.store.notices)
        news = self.store.notices[self._heard : so_far]
        self._heard = so_far
        return news[-1] if news else None

    def _follow(self, checkpoint: str) -> str:
        """The preset that choosing this checkpoint sets; "" for none."""
        name = remembered_as(checkpoint)
        return name if options.follows_checkpoint() and name in self._own() else ""

    def _names(self) -> list[str]:
        return self._listing(self.store.all())

    def _listing(self, own: Iterable[str]) -> list[str]:
        """The list: the built-in presets in the page's language, and the user's own."""
        return [*map(self._called, BUILT_IN), *own]

    def _called(self, name: str) -> str:
        """A preset's name in the page: a built-in one is translated. Everywhere else it is English."""
        return self._translations.get(page.PRESET + name, name) if name in BUILT_IN else name

    def _names_in(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values to fill in, with presets under the names that the page uses."""
        said = self._translations
        return {key: said.get(f"{page.PRESET}{value}", said.get(str(value), value)) for key, value in values.items()}

    def _meant(self, called: str | None) -> str:
        """The name of the preset that the page shows under this one; the user's own presets take precedence."""
        if called in self._own():
            return called or ""
        return next((name for name in BUILT_IN if self._called(name) == called), called or "")

    def _own(self) -> list[str]:
        """Names of the user's own presets; none if their file can't be read, which the first answer to the page
        reports."""
        try:
            return list(self.store.all())
        except FileError as error:
            print(f"PLADIS: {error}")
            return []

    def _id(self, name: str) -> str:
        return f"pladis_{self.tab}_{name}"

    def _button(self, name: str, text: str = "", hidden: bool = False) -> Any:
        classes = HIDDEN if hidden else []
        button = gr.Button(text or LABELS[name], size="sm", elem_id=self._id(f"preset_{name}"), elem_classes=classes)
        return self._unsaved(button)

    def _textbox(self, name: str, **kwargs: Any) -> Any:
        box = gr.Textbox("", label=LABELS[name], info=HELP[name], elem_id=self._id(f"preset_{name}"), **kwargs)
        return self._unsaved(box)

    def _unsaved(self, component: Any) -> Any:
        """Keep the component out of ui-config.json, which stores the settings' defaults."""
        component.do_not_save_to_config = True
        return component


def _values(values: tuple[Any, ...]) -> dict[str, Any]:
    """The panel's values by name. Raises PresetError for one that is not allowed."""
    named = dict(zip(PRESET_SETS, values))
    try:
        Settings.from_dict(named)
    except SettingsError as error:
        raise PresetError("A value is not allowed:", str(error)) from None
    return named


def _suggested(in_use: Model, cfg: float) -> Suggestion:
    """For the checkpoint in use, at this CFG scale."""
    return suggest(in_use, cfg, TESTS.own(in_use, cfg))
