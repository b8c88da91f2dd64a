"""A page that runs an on-device bundle in the browser, and what serves it."""
