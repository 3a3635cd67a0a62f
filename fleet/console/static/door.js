// Posts the form to the API; on success the browser has the cookie and goes where it wanted to.
const form = document.querySelector("#sign-in");
const note = document.querySelector("#note");
const button = form.querySelector("button");

function tell(words) {
  note.textContent = words;
  note.hidden = false;
  form.password.select();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  note.hidden = true;
  if (!form.name.value || !form.password.value) return tell("Both name and password are needed.");
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.getAttribute("action"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: form.elements.name.value, password: form.elements.password.value }),
    });
    if (answer.ok) {
      const next = form.dataset.next;
      location.assign(next ? form.dataset.home.replace(/\/$/, "") + next : form.dataset.home);
      return;
    }
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 429) {
      const seconds = answer.headers.get("Retry-After");
      tell(`Too many sign-ins have failed. Try again in ${seconds} s.`);
    } else if (answer.status === 401) {
      tell("Name and password do not fit.");
    } else {
      tell(problem.detail || `The control plane answered ${answer.status}.`);
    }
  } catch {
    tell("The control plane cannot be reached.");
  } finally {
    button.removeAttribute("aria-busy");
  }
});
