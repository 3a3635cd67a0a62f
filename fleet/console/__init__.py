"""The web console: pages for people, on the control plane's own HTTP server.

It is a client of our API like any other, within the process (`calls`): rights, audit and errors are the API's, and nothing here
reads the database. A page is a module under `pages/` that registers itself (`register.page`); what pages are made of is in `parts/`.
Only `install` imports NiceGUI, so a control plane with `[console] enabled = false` does without it.
"""
