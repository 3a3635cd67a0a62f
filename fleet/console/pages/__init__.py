"""The pages, a module each; every module here is loaded when the console is installed."""
