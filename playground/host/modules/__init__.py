"""The part of the webui's `modules` package that an extension meets. Names are AUTOMATIC1111's."""
