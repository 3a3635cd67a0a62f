// What pages need in the browser beside NiceGUI: light or dark, relative times, the menu of narrow screens, whether the page is seen.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const wanted = () => localStorage.getItem("outrider-theme") || "system";

  function paint() {
    const dark = wanted() === "dark" || (wanted() === "system" && system.matches);
    root.dataset.theme = dark ? "dark" : "light";
    if (window.Quasar) window.Quasar.Dark.set(dark);
    const button = document.querySelector("[data-theme-button]");
    if (button) button.title = `Light or dark: ${wanted()}`;
    window.emitEvent?.("theme", root.dataset.theme);
  }
  paint();
  system.addEventListener("change", paint);
  document.addEventListener("DOMContentLoaded", () => { paint(); tick(); });

  function turn() {
    const order = ["system", "light", "dark"];
    localStorage.setItem("outrider-theme", order[(order.indexOf(wanted()) + 1) % 3]);
    paint();
  }

  function ago(at, now = Date.now() / 1000) {
    const past = now - at;
    const size = Math.abs(past);
    const words =
      size < 1.5 ? "now"
      : size < 90 ? `${Math.round(size)} s`
      : size < 5400 ? `${Math.round(size / 60)} min`
      : size < 129600 ? `${Math.round(size / 3600)} h`
      : `${Math.round(size / 86400)} d`;
    return words === "now" ? words : past >= 0 ? `${words} ago` : `in ${words}`;
  }

  function tick() {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[data-at]")) {
      const at = Number(element.dataset.at);
      const words = ago(at);
      if (element.textContent !== words) element.textContent = words;
      if (element._at !== at) { element._at = at; element.title = new Date(at * 1000).toLocaleString(); }
    }
  }
  setInterval(tick, 1000);

  function menu(open) {
    const shown = document.querySelector("#menu");
    const button = document.querySelector("[data-toggles=menu]");
    if (!shown || !button) return;
    shown.classList.toggle("open", open);
    button.setAttribute("aria-expanded", String(open));
    if (open) shown.querySelector("a")?.focus();
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    if (target.closest("[data-theme-button]")) turn();
    const toggle = target.closest("[data-toggles=menu]");
    if (toggle) menu(toggle.getAttribute("aria-expanded") !== "true");
    else if (!target.closest("#menu")) menu(false);
    const copy = target.closest("[data-copy]");
    if (copy) write(copy);
    if (target.closest("a.skip")) document.querySelector("#main")?.focus();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") menu(false); });

  async function write(button) {
    const words = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: words });
      button.after(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  document.addEventListener("visibilitychange", () => window.emitEvent?.("seen", !document.hidden));
  window.outrider = { ago };
})();
